"""Whatever is wrong with one plugin is one problem that names it, and everything else works."""

import asyncio
import re
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint
from typing import Any

import pytest
from attrs import define, frozen

from coe_core import (
    Deployment,
    KnowledgeStore,
    Route,
    Service,
    StateStore,
    Turn,
    hookimpl,
    toggle,
)
from coe_core.error import Conflict, SettingsError, StartRefused
from coe_core.host import Host
from coe_core.plugin import settings_class
from coe_core.testing import MemoryKnowledgePlugin, MemoryKnowledgeStore, MemoryStateStore
from coe_core.testing.scripted import ScriptedProvider
from coe_core.toggle import plugin_toggle

from .conftest import Given, StartHost, contributing

GOOD = contributing("scripted", model_providers=[ScriptedProvider()])
SETTINGS = '[routing]\ndefault = "scripted"\n'

ROUTER = """
    @frozen
    class R:
        name: str = "{name}"
        async def route(self, turn):
            return None
"""

BROKEN: dict[str, tuple[str, str, str]] = {
    "names_no_tuple": (
        (
            "class Plugin:\n    provides = KnowledgeStore\n    @hookimpl\n"
            "    def coe_services(self, ctx):\n        return []"
        ),
        "register",
        "`provides` is no tuple",
    ),
    "missing_module": ("import no_such_library", "import", "'no_such_library' is missing"),
    "raises_on_import": ("raise RuntimeError('boom')", "import", "RuntimeError: boom"),
    "not_a_class": ("Plugin = 3", "import", "not a class"),
    "other_version": (
        (
            "class Plugin:\n    api_version = 99\n    @hookimpl\n"
            "    def coe_routers(self, ctx):\n        return []"
        ),
        "import",
        "version 99 of the plugin API, this core version 1",
    ),
    "misspelt_hook": (
        "class Plugin:\n    @hookimpl\n    def coe_router(self, ctx):\n        return []",
        "register",
        "did you mean 'coe_routers'?",
    ),
    "hook_with_other_arguments": (
        "class Plugin:\n    @hookimpl\n    def coe_routers(self, context):\n        return []",
        "register",
        "context",
    ),
    "no_hooks": ("class Plugin:\n    pass", "register", "implements no hook"),
    "raising_hook": (
        "class Plugin:\n    @hookimpl\n    def coe_routers(self, ctx):\n        return 1 / 0",
        "contribute",
        "coe_routers raised ZeroDivisionError",
    ),
    "wrong_type": (
        "class Plugin:\n    @hookimpl\n    def coe_routers(self, ctx):\n        return [object()]",
        "contribute",
        "no Router: it has no 'name'; it has no 'route'",
    ),
    "plain_method": (
        """
        @frozen
        class R:
            name: str = "plain"
            def route(self, turn):
                return None
        class Plugin:
            @hookimpl
            def coe_routers(self, ctx):
                return [R()]
        """,
        "contribute",
        "'route' is not async",
    ),
    "other_signature": (
        """
        @frozen
        class R:
            name: str = "other"
            async def route(self):
                return None
        class Plugin:
            @hookimpl
            def coe_routers(self, ctx):
                return [R()]
        """,
        "contribute",
        "'route' cannot be called as route",
    ),
    "no_such_service": (
        (
            "class Plugin:\n    @hookimpl\n    def coe_routers(self, ctx):\n"
            "        ctx.need(KnowledgeStore)\n        return []"
        ),
        "contribute",
        "no plugin provides the service KnowledgeStore",
    ),
    "bad_schema": (
        """
        @frozen
        class T:
            name: str = "t"
            description: str = ""
            input_schema = {"type": "no such type"}
            output_schema = {}
            effects = frozenset()
            async def call(self, arguments, context):
                return None
        class Plugin:
            @hookimpl
            def coe_tools(self, ctx):
                return [T()]
        """,
        "contribute",
        "a schema of the tool 't' is not JSON Schema",
    ),
    "does_not_open": (
        """
        @frozen
        class R:
            name: str = "closed"
            async def open(self):
                raise OSError("the door is stuck")
            async def route(self, turn):
                return None
        class Plugin:
            @hookimpl
            def coe_routers(self, ctx):
                return [R()]
        """,
        "open",
        "closed did not open: OSError: the door is stuck",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
async def test_a_broken_plugin_is_one_problem_and_the_others_work(
    case: str, start_host: StartHost, module_plugin: Callable[..., EntryPoint]
) -> None:
    source, stage, text = BROKEN[case]
    host: Host = await start_host(SETTINGS, GOOD, module_plugin(case, source))
    [problem] = host.application.problems
    assert (problem.plugin, problem.stage) == (case, stage)
    assert text in problem.text
    assert problem.mend
    assert host.application.models.keys() == {"scripted", "scripted-embed"}


async def test_a_component_of_a_name_that_is_taken_is_a_problem(start_host: StartHost) -> None:
    twin = contributing("twin", model_providers=[ScriptedProvider()])
    host: Host = await start_host(SETTINGS, GOOD, twin)
    [problem] = host.application.problems
    assert (problem.plugin, problem.stage) == ("twin", "contribute")
    assert "already have a 'scripted'" in problem.text


async def test_a_plugin_of_a_name_that_is_taken_is_a_problem(start_host: StartHost) -> None:
    host: Host = await start_host(SETTINGS, GOOD, Given("scripted", type("Twin", (), {})))
    [problem] = host.application.problems
    assert (problem.plugin, problem.stage) == ("scripted", "discover")


async def test_a_service_that_is_provided_already_is_a_problem(
    start_host: StartHost, module_plugin: Callable[..., EntryPoint]
) -> None:
    source = """
        from coe_core.ephemeral import EphemeralRecords
        class Plugin:
            @hookimpl
            def coe_services(self, ctx):
                return [Service(contract=Journal, provider=EphemeralRecords())]
    """
    first, second = module_plugin("first", source), module_plugin("second", source)
    host: Host = await start_host(SETTINGS, GOOD, second, first)
    [problem] = host.application.problems
    assert (problem.plugin, problem.stage) == ("second", "contribute")
    assert "another plugin already provides Journal" in problem.text


async def test_a_service_that_is_none_is_a_problem(
    start_host: StartHost, module_plugin: Callable[..., EntryPoint]
) -> None:
    source = """
        class Plugin:
            @hookimpl
            def coe_services(self, ctx):
                return [Service(contract=Journal, provider=object()), "nonsense"]
    """
    host: Host = await start_host(SETTINGS, GOOD, module_plugin("none", source))
    texts = [problem.text for problem in host.application.problems]
    assert "its Journal is none: it has no 'append'; it has no 'intend'" in texts[0]
    assert "no Service of a known contract" in texts[1]


async def test_a_misspelt_setting_names_the_nearest(
    start_host: StartHost, module_plugin: Callable[..., EntryPoint]
) -> None:
    source = """
        @frozen(kw_only=True)
        class Settings:
            threshold: float = 0.5
        @frozen
        class Plugin:
            settings: Settings
            @hookimpl
            def coe_routers(self, ctx):
                return []
    """
    settings = SETTINGS + "[plugins.tuned]\ntreshold = 0.4\n"
    host: Host = await start_host(settings, GOOD, module_plugin("tuned", source))
    [problem] = host.application.problems
    assert (problem.plugin, problem.stage) == ("tuned", "configure")
    assert "coe.toml:4: [plugins.tuned] has no key 'treshold'; did you mean 'threshold'?" in (
        problem.text
    )


async def test_settings_for_a_plugin_that_is_not_installed_are_a_problem(
    start_host: StartHost,
) -> None:
    host: Host = await start_host(SETTINGS + "[plugins.scriptd]\n", GOOD)
    [problem] = host.application.problems
    assert (problem.plugin, problem.stage) == ("scriptd", "discover")
    assert "did you mean 'scripted'?" in problem.text


async def test_settings_of_a_provider_are_checked(start_host: StartHost) -> None:
    settings = (
        SETTINGS + '[models.a]\nprovider = "scriptd"\n[models.b]\nprovider = "scripted"\nx = 1\n'
    )
    host: Host = await start_host(settings, GOOD)
    texts = sorted(problem.text for problem in host.application.problems)
    assert "there is no provider 'scriptd'; did you mean 'scripted'?" in texts[0]
    assert "[models.b] has no key 'x'" in texts[1]


async def test_an_alias_that_is_no_model_is_a_problem(start_host: StartHost) -> None:
    host: Host = await start_host('[routing]\ndefault = "scriptd"\n', GOOD)
    [problem] = host.application.problems
    assert "names 'scriptd', no model; did you mean 'scripted'?" in problem.text


async def test_names_that_nothing_has_are_told_wherever_settings_say_them(
    start_host: StartHost, module_plugin: Callable[..., EntryPoint]
) -> None:
    source = """
        @frozen
        class Table:
            models: tuple[str, ...] = naming("models", ())
        @frozen
        class Settings:
            reranker: str = naming("rerankers", "")
            unsaid: str = naming("models", "absent-by-default")
            first_router: str | None = naming("routers")
            tables: dict[str, Table] = field(factory=dict)
        @frozen
        class Plugin:
            settings: Settings
            @hookimpl
            def coe_rerankers(self, ctx):
                return [ShortFirst()]
        @frozen
        class ShortFirst:
            name: str = "short-first"
            async def rerank(self, text, passages, *, parent):
                return [0.5 for _ in passages]
    """
    settings = """
        [coe]
        embedder = "scriptd"
        [routing]
        default = "scripted"
        order = ["nowhere"]
        [plugins.named]
        reranker = "shrt-first"
        first_router = "off"
        [plugins.named.tables.one]
        models = ["scripted", "gone"]
    """
    host: Host = await start_host(settings, GOOD, module_plugin("named", source))
    problems = host.application.problems
    assert {(p.plugin, p.stage) for p in problems} == {("core", "configure")}
    found = [re.sub(r"\(.*?([\d]+)\)", r"(line \1)", p.text) for p in problems]
    assert found == [
        "coe.embedder (line 3) names 'scriptd', no model; did you mean 'scripted'?",
        "routing.order (line 6) names 'nowhere', no router",
        (
            "plugins.named.reranker (line 8) names 'shrt-first', no reranker; "
            "did you mean 'short-first'?"
        ),
        "plugins.named.first_router (line 9) names 'off', no router",
        (
            "plugins.named.tables.one.models (line 11) names 'gone', no model; "
            "there are: scripted, scripted-embed"
        ),
    ]


async def test_what_is_switched_off_has_its_name(start_host: StartHost) -> None:
    resting = contributing("resting", routers=[Counting("resting")])
    settings = """
        [routing]
        default = "scripted"
        order = ["resting"]
        [plugins.resting.components]
        "routers.resting" = false
    """
    host: Host = await start_host(settings, GOOD, resting)
    assert host.application.routers == ()
    assert host.application.problems == ()


async def test_a_disabled_plugin_is_never_imported(
    start_host: StartHost, module_plugin: Callable[..., EntryPoint]
) -> None:
    off = module_plugin("switched_off", "raise RuntimeError('imported')")
    settings = SETTINGS + "[plugins.switched_off]\nenabled = false\n"
    host: Host = await start_host(settings, GOOD, off)
    assert host.application.problems == ()
    assert "coe_test_switched_off" not in sys.modules
    [report] = [r for r in host.application.plugins if r.name == "switched_off"]
    assert not report.enabled


@pytest.mark.parametrize(
    ("required", "text"),
    [("broken", "coe_routers raised"), ("absent", "not installed"), ("off", "disabled")],
)
async def test_a_required_plugin_that_does_not_work_stops_the_start(
    required: str,
    text: str,
    start_host: StartHost,
    module_plugin: Callable[..., EntryPoint],
) -> None:
    broken = module_plugin("broken", BROKEN["raising_hook"][0])
    off = module_plugin("off", "raise RuntimeError('imported')")
    settings = (
        f'[coe]\nrequired_plugins = ["{required}"]\n{SETTINGS}[plugins.off]\nenabled = false\n'
    )
    with pytest.raises(StartRefused, match=text):
        await start_host(settings, GOOD, broken, off)


class Counting:
    """A router that notes how often it was opened and closed."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.opened = self.closed = 0

    async def open(self) -> None:
        self.opened += 1

    async def close(self) -> None:
        self.closed += 1

    async def route(self, turn: Turn) -> Route | None:
        return None


async def test_switching_swaps_and_turns_in_flight_keep_what_they_had(
    start_host: StartHost,
) -> None:
    kept, switched = Counting("kept"), Counting("switched")
    first, second = (
        contributing("first", routers=[kept]),
        contributing("second", routers=[switched]),
    )
    host: Host = await start_host(SETTINGS, GOOD, first, second)
    async with host.lease() as before:
        await host.change("toggles/plugins/second", value=False, actor="tester")
        assert host.application is not before
        assert host.application.routers == (kept,)
        assert before.routers == (kept, switched)
        assert (switched.opened, switched.closed) == (1, 0)
    assert (switched.opened, switched.closed) == (1, 1)
    assert (kept.opened, kept.closed) == (1, 0)
    await host.change("toggles/plugins/second", value=None, actor="tester")
    assert [router.name for router in host.application.routers] == ["kept", "switched"]


class Slow(Counting):
    """Opens when it is told to."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.begun, self.let = asyncio.Event(), asyncio.Event()

    async def open(self) -> None:
        self.begun.set()
        await self.let.wait()
        await super().open()


PAIR_OFF = SETTINGS + "[plugins.pair]\nenabled = false\n"


async def test_a_turn_that_ends_while_another_application_opens_closes_nothing_of_it(
    start_host: StartHost,
) -> None:
    quick, slow = Counting("quick"), Slow("slow")
    pair, old = contributing("pair", routers=[quick, slow]), contributing("old", routers=[])
    host: Host = await start_host(PAIR_OFF, GOOD, pair, old)
    async with host.lease():
        await host.change("toggles/plugins/old", value=False, actor="tester")
        change = host.change("toggles/plugins/pair", value=True, actor="tester")
        changing = asyncio.create_task(change)
        await slow.begun.wait()
    slow.let.set()
    await changing
    assert [router.name for router in host.application.routers] == ["quick", "slow"]
    assert (quick.opened, quick.closed) == (1, 0)


class Told:
    """A sink that keeps what it is told."""

    name = "told"

    def __init__(self) -> None:
        self.records: list[Any] = []

    async def receive(self, record: Any) -> None:
        self.records.append(record)


async def test_a_change_is_made_and_recorded_whole_though_who_asked_has_gone(
    start_host: StartHost,
) -> None:
    slow, told = Slow("pair"), Told()
    plugins = contributing("pair", routers=[slow]), contributing("told", event_sinks=[told])
    host: Host = await start_host(PAIR_OFF, GOOD, *plugins)
    asking = asyncio.create_task(host.change("toggles/plugins/pair", value=True, actor="tester"))
    await slow.begun.wait()
    asking.cancel()
    slow.let.set()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert [router.name for router in host.application.routers] == ["pair"]
    assert [(record.key, record.actor) for record in told.records] == [
        ("toggles/plugins/pair", "tester")
    ]


async def test_a_change_swaps_once(start_host: StartHost) -> None:
    slow = Slow("pair")
    host: Host = await start_host(PAIR_OFF, GOOD, contributing("pair", routers=[slow]))
    changing = asyncio.create_task(host.change("toggles/plugins/pair", value=True, actor="t"))
    await slow.begun.wait()
    slow.let.set()
    await changing
    applied = host.application
    await host._catch_up()  # As the watcher does, which the change has woken.
    assert host.application is applied


async def test_what_lacked_a_service_is_back_with_it(start_host: StartHost) -> None:
    """Meanwhile it is one problem, however many of its hooks want the service."""

    class RoofPlugin:
        @hookimpl
        def coe_routers(self, ctx: Any) -> list[Counting]:
            ctx.need(KnowledgeStore)
            return [Counting("roof")]

        @hookimpl
        def coe_tools(self, ctx: Any) -> list[Any]:
            ctx.need(KnowledgeStore)
            return []

    plugins = Given("ground", MemoryKnowledgePlugin), Given("roof", RoofPlugin)
    host: Host = await start_host(SETTINGS, GOOD, *plugins)
    await host.change("toggles/plugins/ground", value=False, actor="tester")
    [problem] = host.application.problems
    assert (problem.plugin, host.application.routers) == ("roof", ())
    await host.change("toggles/plugins/ground", value=True, actor="tester")
    assert host.application.problems == ()
    assert [router.name for router in host.application.routers] == ["roof"]


async def test_a_plugin_s_routers_keep_its_order(start_host: StartHost) -> None:
    own = [Counting("zeal"), Counting("art"), Counting("mind")]
    host: Host = await start_host(
        f'{SETTINGS}order = ["mind"]\n',
        GOOD,
        contributing("second", routers=own),
        contributing("first", routers=[Counting("whim")]),
    )
    assert [router.name for router in host.application.routers] == ["mind", "whim", "zeal", "art"]


async def test_what_the_process_stands_on_is_not_switched_off_under_it(
    start_host: StartHost,
) -> None:
    plugins = [contributing(name, routers=[Counting(name)]) for name in ("ground", "roof")]
    host: Host = await start_host(SETTINGS, GOOD, *plugins, kept=frozenset({"ground"}))
    other: Host = await start_host(SETTINGS, GOOD, *plugins)
    with pytest.raises(Conflict, match="'ground' cannot be switched off over itself"):
        await host.change(toggle.plugin_toggle("ground"), value=False, actor="t")
    for name in ("ground", "roof"):
        await other.change(toggle.plugin_toggle(name), value=False, actor="t")
    async with asyncio.timeout(5):
        while len(host.application.routers) == len(plugins):
            await asyncio.sleep(0.01)
    assert [router.name for router in host.application.routers] == ["ground"]
    assert other.application.routers == ()


async def test_a_required_plugin_is_not_switched_off(start_host: StartHost) -> None:
    settings = f'[coe]\nrequired_plugins = ["needed"]\n{SETTINGS}'
    plugins = GOOD, contributing("needed", routers=[Counting("needed")])
    off = {"key": plugin_toggle("needed"), "value": False, "actor": "tester"}
    host: Host = await start_host(settings, *plugins)
    with pytest.raises(Conflict, match="required_plugins"):
        await host.change(**off)
    with pytest.raises(Conflict, match="required_plugins"):
        await host.application.need(Deployment).change(**off)
    await host.close()
    earlier: Host = await start_host(SETTINGS, *plugins)
    await earlier.change(**off)
    assert not earlier.application.routers
    await earlier.close()
    later: Host = await start_host(settings, *plugins)
    assert later.application.routers


async def test_a_component_is_switched_off_alone(start_host: StartHost) -> None:
    one, two = Counting("one"), Counting("two")
    host: Host = await start_host(SETTINGS, GOOD, contributing("both", routers=[one, two]))
    await host.change("toggles/components/routers.one", value=False, actor="tester")
    assert host.application.routers == (two,)
    assert (two.opened, two.closed) == (1, 0)
    [report] = [r for r in host.application.plugins if r.name == "both"]
    assert report.disabled == ("routers.one",)


async def test_a_toggle_by_another_process_is_applied(start_host: StartHost) -> None:
    host: Host = await start_host(SETTINGS, GOOD, contributing("far", routers=[Counting("far")]))
    other: Host = await start_host(SETTINGS, GOOD, contributing("far", routers=[Counting("far")]))
    await other.change("toggles/plugins/far", value=False, actor="tester")
    async with asyncio.timeout(5):
        while host.application.routers:
            await asyncio.sleep(0.01)


async def test_a_plugin_is_composed_anew_only_when_its_settings_change(
    start_host: StartHost, module_plugin: Callable[..., EntryPoint]
) -> None:
    source = """
        @frozen(kw_only=True)
        class Settings:
            word: str = "a"
        @frozen
        class R:
            word: str
            name: str = "tuned"
            async def route(self, turn):
                return None
        @frozen
        class Plugin:
            settings: Settings
            @hookimpl
            def coe_routers(self, ctx):
                return [R(self.settings.word)]
    """
    host: Host = await start_host(SETTINGS, GOOD, module_plugin("tuned", source))
    before = host.application
    assert before.problems == ()
    host.config.write_text(SETTINGS + "[groups.default]\nrpm = 5\n")  # type: ignore[union-attr]
    await host.reload()
    assert host.application is not before
    assert host.application.routers[0] is before.routers[0]
    host.config.write_text(SETTINGS + '[plugins.tuned]\nword = "b"\n')  # type: ignore[union-attr]
    await host.reload()
    assert host.application.routers[0].word == "b"  # type: ignore[attr-defined]


async def test_a_plugin_follows_the_service_it_was_given(
    start_host: StartHost, module_plugin: Callable[..., EntryPoint]
) -> None:
    provider = module_plugin(
        "keeper",
        """
        from coe_core.ephemeral import EphemeralRecords
        class Plugin:
            @hookimpl
            def coe_services(self, ctx):
                return [Service(contract=Journal, provider=EphemeralRecords())]
        """,
    )
    user = module_plugin(
        "a_reader",
        """
        @frozen
        class R:
            journal: object
            name: str = "reader"
            async def route(self, turn):
                return None
        class Plugin:
            @hookimpl
            def coe_routers(self, ctx):
                return [R(ctx.need(Journal))]
        """,
    )
    host: Host = await start_host(SETTINGS, GOOD, provider, user)
    kept: Any = host.application.routers[0]
    assert host.application.problems == ()
    await host.change("toggles/plugins/keeper", value=False, actor="tester")
    now: Any = host.application.routers[0]
    assert type(now.journal).__name__ == "EphemeralRecords"
    assert now.journal is not kept.journal


async def test_services_are_open_before_what_may_use_them(start_host: StartHost) -> None:
    """Whatever the plugins are called."""
    told: list[str] = []

    @frozen
    class Telling:
        name: str

        async def open(self) -> None:
            told.append(f"{self.name} opens")

        async def close(self) -> None:
            told.append(f"{self.name} closes")

        async def measure(self) -> list[Any]:
            return []

    @define(eq=False)
    class Store(MemoryStateStore):
        async def open(self) -> None:
            told.append("the service opens")

        async def close(self) -> None:
            told.append("the service closes")

    offer = Service(contract=StateStore, provider=Store())
    host = await start_host(
        "", contributing("a", monitors=[Telling("a")]), contributing("b", services=[offer])
    )
    await host.close()
    assert told == ["the service opens", "a opens", "a closes", "the service closes"]


async def test_a_service_is_open_before_those_that_were_given_it(start_host: StartHost) -> None:
    """A plugin's tables are upgraded where its own service opens, with another's database."""
    told: list[str] = []

    @define(eq=False)
    class Store(MemoryStateStore):
        async def open(self) -> None:
            told.append("store")

    @define(eq=False)
    class Knowledge(MemoryKnowledgeStore):
        async def open(self) -> None:
            told.append("knowledge")

    class NeedyPlugin:
        @hookimpl
        def coe_services(self, ctx: Any) -> list[Service]:
            ctx.need(StateStore)
            return [Service(contract=KnowledgeStore, provider=Knowledge())]

    offer = Service(contract=StateStore, provider=Store())
    host = await start_host("", Given("a", NeedyPlugin), contributing("b", services=[offer]))
    assert KnowledgeStore in host.application.services
    assert told == ["store", "knowledge"]


async def test_a_plugin_provides_what_it_names_if_it_names_any(start_host: StartHost) -> None:
    class StorePlugin:
        provides = (StateStore,)

        @hookimpl
        def coe_services(self, ctx: Any) -> list[Service]:
            return [Service(contract=KnowledgeStore, provider=MemoryKnowledgeStore())]

    host = await start_host("", Given("store", StorePlugin))
    [problem] = [each for each in host.application.problems if each.plugin == "store"]
    assert problem.text == "its `provides` does not name KnowledgeStore, which it provides"
    # Were it refused, a journal that nobody named would be replaced by one that forgets.
    assert KnowledgeStore in host.application.services


async def test_who_lacks_what_a_waiting_plugin_provides_waits_himself(
    start_host: StartHost,
) -> None:
    """An index needs the store, and the store the state store: asked for that while the store is
    being made, the index must not be told that there is no store.
    """

    class StorePlugin:
        @hookimpl
        def coe_services(self, ctx: Any) -> list[Service]:
            ctx.need(StateStore)
            return [Service(contract=KnowledgeStore, provider=MemoryKnowledgeStore())]

    class IndexPlugin:
        @hookimpl
        def coe_services(self, ctx: Any) -> list[Service]:
            ctx.need(KnowledgeStore)
            return []

    offer = Service(contract=StateStore, provider=MemoryStateStore())
    names = Given("a", StorePlugin), Given("b", IndexPlugin), contributing("c", services=[offer])
    host = await start_host("", *names)
    assert KnowledgeStore in host.application.services
    assert not [p for p in host.application.problems if p.plugin == "b"]


async def test_a_broken_file_leaves_the_application_in_force(start_host: StartHost) -> None:
    host: Host = await start_host(SETTINGS, GOOD)
    before = host.application
    host.config.write_text("[routing\n")  # type: ignore[union-attr]
    with pytest.raises(SettingsError, match="coe.toml:1"):
        await host.reload()
    assert host.application is before


@frozen
class OwnSettings:
    pass


@frozen
class Typed:
    other: "ImportedForTypeCheckersAlone"  # type: ignore[name-defined]  # noqa: F821
    settings: "OwnSettings"


class Inheriting(Typed):
    pass


@pytest.mark.parametrize("plugin", [Typed, Inheriting])
def test_no_other_type_of_a_plugin_is_looked_up_than_that_of_its_settings(plugin: type) -> None:
    assert settings_class(plugin) is OwnSettings


HEAVY = (
    "numpy",
    "sqlalchemy",
    "aiohttp",
    "uvicorn",
    "litellm",
    "jsonschema_rs",
    "pydantic",
    "lancedb",
)


def test_importing_the_core_imports_nothing_heavy() -> None:
    program = (
        "import sys, coe_core, coe_core.host, coe_core.engine, coe_core.cli\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
