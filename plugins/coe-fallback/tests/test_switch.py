"""The switch, from the command line and over HTTP, and what shows how targets stand."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import click
import pytest
from attrs import define, evolve, field
from coe_fallback.alert import BreakerOpen, FallbackActive
from coe_fallback.breaker import Breakers, Rules
from coe_fallback.command import fallback_command
from coe_fallback.exchange import PREFIX
from coe_fallback.monitor import FallbackMonitor
from coe_fallback.panel import FallbackPanel
from coe_fallback.plugin import FallbackPlugin
from coe_fallback.retry_budget import RetryBudget
from coe_fallback.route import routes
from coe_fallback.settings import Settings

from coe_core import hookimpl, user
from coe_core.access import LOCAL
from coe_core.admission import Ask
from coe_core.application import Application
from coe_core.cli.program import run as run_program
from coe_core.codec import decode, encode
from coe_core.engine import run
from coe_core.ephemeral import EphemeralRecords
from coe_core.error import Conflict, UpstreamCut, UpstreamDenied
from coe_core.event import TurnEnded
from coe_core.host import Host
from coe_core.http import HttpRequest, HttpRoute
from coe_core.record import Pointer, Record, StateChange
from coe_core.request import ChatRequest
from coe_core.service import (
    Clock,
    Deployment,
    Journal,
    RecordReader,
    Service,
    SessionStore,
    StateStore,
)
from coe_core.testing import (
    AlertRuleContract,
    CliCommandContract,
    Fault,
    HttpRouteContract,
    ManualClock,
    MemoryStateStore,
    MonitorContract,
    PanelContract,
    ScriptedProvider,
    StandingDeployment,
    deployment,
    scripted_application,
)

SETTINGS = Settings(openai="scripted")
TABLE = '[routing]\ndefault = "main"\n[plugins.fallback]\nopenai = "rescue"\nretries = 0\n'
SHOW, PUT = routes(SETTINGS)
SCRIPTED = scripted_application()


class RouteContract(HttpRouteContract):
    route: HttpRoute
    body: Any = None

    def make(self) -> HttpRoute:
        return self.route

    def application(self) -> Application:
        return SCRIPTED

    def valid(self) -> HttpRequest:
        return self.asked(self.route, body=encode(self.body) if self.body else b"")


class TestShow(RouteContract):
    route = SHOW


class TestPut(RouteContract):
    route = PUT
    body = {"fallback_to_openai": True}


class TestCommand(CliCommandContract):
    def make(self) -> click.Command:
        return fallback_command(SETTINGS)


def troubled() -> Breakers:
    clock = ManualClock()
    breakers = Breakers(clock, Rules(failures=2))
    breakers.note("lost", UpstreamCut("x"))
    breakers.note("denied", UpstreamDenied("401"))
    return breakers


class TestPanel(PanelContract):
    def make(self) -> FallbackPanel:
        return FallbackPanel(SETTINGS, StandingDeployment(SCRIPTED))


class TestMonitor(MonitorContract):
    async def make(self) -> FallbackMonitor:
        return FallbackMonitor(troubled(), RetryBudget())


class TestBreakerOpen(AlertRuleContract):
    async def make(self) -> BreakerOpen:
        return BreakerOpen(troubled())


class TestFallbackActive(AlertRuleContract):
    async def make(self) -> FallbackActive:
        store = MemoryStateStore()
        await store.put("params/fallback_to_openai", value=True)
        return FallbackActive(store)


async def test_a_target_that_is_left_alone_is_measured_and_told() -> None:
    breakers = troubled()
    samples = await FallbackMonitor(breakers, RetryBudget()).measure()
    values = {s.labels.get("target", s.metric): s.value for s in samples}
    assert values == {"denied": 1.0, "lost": 0.0, "coe_fallback_retries_left": 10.0}
    now = breakers.clock.now()
    (alert,) = await BreakerOpen(breakers).evaluate(now)
    assert alert.key == "breaker-open/denied"
    store = MemoryStateStore()
    active = FallbackActive(store)
    assert await active.evaluate(now) == []
    await store.put("params/fallback_to_openai", value=True)
    assert [alert.rule for alert in await active.evaluate(now)] == ["fallback-active"]


@define
class KeptChanges(EphemeralRecords):
    changes: list[StateChange] = field(factory=list)

    async def append(self, record: Record) -> Pointer:
        if isinstance(record, StateChange):
            self.changes.append(record)
        return await super().append(record)


def models(*providers: ScriptedProvider) -> type[Any]:
    records = KeptChanges()

    class Models:
        @hookimpl
        def coe_services(self, ctx: Any) -> list[Service]:
            contracts = (Journal, RecordReader, SessionStore)
            return [Service(contract=contract, provider=records) for contract in contracts]

        @hookimpl
        def coe_model_providers(self, ctx: Any) -> list[ScriptedProvider]:
            return list(providers)

    return Models


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[Host]:
    down = ScriptedProvider(name="main", schedule=[Fault(error=UpstreamCut("down"))] * 100)
    rescue = ScriptedProvider(name="rescue", answers=["rescued"])
    plugins = {"fallback": FallbackPlugin, "models": models(down, rescue)}
    async with deployment(TABLE, plugins=plugins, data_dir=tmp_path) as host:
        assert host.application.problems == ()
        yield host


async def is_answered(host: Host) -> bool:
    request = ChatRequest(model="auto", messages=(user("Hello"),))
    async with aclosing(run(host.application, Ask(request=request, principal=LOCAL))) as events:
        return isinstance([event async for event in events][-1], TurnEnded)


def asked(host: Host, route: HttpRoute, **body: Any) -> HttpRequest:
    return HttpRequest(
        method=route.method,
        path=route.path,
        principal=evolve(LOCAL, role="operator", key_id="k1"),
        application=host.application,
        request_id="req_1",
        body=encode(body),
    )


async def test_over_http_it_holds_for_the_next_turn_and_is_recorded(host: Host) -> None:
    show, put = (r for r in host.application.http_routes)
    assert not await is_answered(host)
    for on in (True, False, True):
        response = await put.handler(asked(host, put, fallback_to_openai=on))
        assert isinstance(response.body, bytes)
        assert decode(response.body)["fallback_to_openai"] is on
        assert await is_answered(host) is on
    journal: Any = host.application.need(Journal)
    changes = [(change.key, change.value, change.actor) for change in journal.changes]
    assert changes == [("params/fallback_to_openai", on, "k1") for on in (True, False, True)]
    shown = await show.handler(asked(host, show))
    assert isinstance(shown.body, bytes)
    stands = decode(shown.body)
    assert (stands["fallback_to_openai"], stands["origin"]) == (True, "operator")
    assert stands["openai"] == "rescue"


async def test_it_survives_a_restart(host: Host, tmp_path: Path) -> None:
    _, put = host.application.http_routes
    await put.handler(asked(host, put, fallback_to_openai=True))
    rescue = ScriptedProvider(name="rescue")
    down = ScriptedProvider(name="main", schedule=[Fault(error=UpstreamCut("down"))])
    plugins = {"fallback": FallbackPlugin, "models": models(down, rescue)}
    async with deployment(TABLE, plugins=plugins, data_dir=tmp_path) as again:
        assert await is_answered(again)


async def test_what_no_model_answers_is_not_switched_on(host: Host) -> None:
    _, put = routes(Settings(openai="resuce"))
    with pytest.raises(Conflict, match=r"names 'resuce', which is no model"):
        await put.handler(asked(host, put, fallback_to_openai=True))
    _, put = routes(Settings())
    with pytest.raises(Conflict, match="is not set"):
        await put.handler(asked(host, put, fallback_to_openai=True))
    await put.handler(asked(host, put, fallback_to_openai=False))


async def shown_panel(host: Host, role: Any = "viewer") -> list[Any]:
    (panel,) = host.application.panels
    return [*await panel.show(evolve(LOCAL, role=role), {})]


async def test_the_panel_lets_operators_switch_and_shows_everybody_how_it_stands(
    host: Host,
) -> None:
    off, breakers = await shown_panel(host)
    assert off.text["en"].startswith("The last resort is off")
    assert breakers.text["en"].startswith("Every breaker is closed")
    for on in (True, False, True):
        (toggle, _) = await shown_panel(host, "operator")
        assert (toggle.on, toggle.role) == (not on, "operator")
        assert "rescue" in toggle.label["ko"]
        await host.application.need(Deployment).change(toggle.key, on, actor="k1")
    (note, _) = await shown_panel(host)
    assert note.text["en"] == "The last resort is on: rescue answers when a turn fails."
    assert await is_answered(host)


async def test_the_panel_shows_whom_the_breakers_leave_alone(host: Host) -> None:
    for _ in range(5):
        await is_answered(host)
    (_, table) = await shown_panel(host)
    ((alias, state, failures, until),) = table.rows
    assert (alias, state["en"], failures) == ("main", "open", "5")
    assert until > host.application.need(Clock).now()


async def test_the_panel_offers_no_switch_where_no_model_would_answer(host: Host) -> None:
    async def noted(settings: Settings) -> Any:
        panel = FallbackPanel(settings, StandingDeployment(host.application))
        return (await panel.show(evolve(LOCAL, role="admin"), {}))[0]

    assert "names no model" in (await noted(Settings(openai="resuce"))).text["en"]
    lit = await noted(Settings(openai="resuce", fallback_to_openai=True))
    assert lit.on, "what is on can be switched off"


async def test_breakers_outlive_a_switch(host: Host) -> None:
    for _ in range(5):
        await is_answered(host)
    stored = await host.application.need(StateStore).get(f"{PREFIX}main")
    assert stored.value["failures"] == 5
    _, put = host.application.http_routes
    before = host.application.attempt_policies
    await put.handler(asked(host, put, fallback_to_openai=True))
    assert host.application.attempt_policies == before


Coe = Callable[..., str]


@pytest.fixture
def coe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Coe:
    monkeypatch.chdir(tmp_path)
    settings = '[models.rescue]\nprovider = "openai"\n[plugins.fallback]\nopenai = "rescue"\n'
    (tmp_path / "coe.toml").write_text(settings, encoding="utf-8")

    def typed(*arguments: str, code: int = 0) -> str:
        assert run_program(arguments) == code
        printed = capsys.readouterr()
        return printed.out or printed.err

    return typed


def test_on_the_command_line(coe: Coe) -> None:
    pytest.importorskip("coe_models_openai")
    assert "last resort: off (by settings), model rescue" in coe("fallback", "status")
    assert coe("fallback", "on") == "Switched on: the last resort.\n"
    assert "last resort: on (by operator)" in coe("fallback", "status")
    assert decode(coe("fallback", "status", "--json").encode())["fallback_to_openai"] is True
    coe("fallback", "off")
    shown = coe("fallback", "status")
    assert "last resort: off (by operator)" in shown
    assert "every breaker is closed" in shown
    Path("coe.toml").write_text("[plugins.fallback]\nopenai = 'resuce'\n", encoding="utf-8")
    assert "names 'resuce', which is no model" in coe("fallback", "on", code=1)
    assert "problem: " in coe("fallback", "status")


def test_a_target_that_is_left_alone_is_shown(coe: Coe) -> None:
    async def fail() -> None:
        async with deployment(plugins={"f": FallbackPlugin}, data_dir=Path("coe-data")) as host:
            policy: Any = host.application.attempt_policies[0]
            policy.breakers.note("main", UpstreamDenied("401"))

    asyncio.run(fail())
    shown = coe("fallback", "status").splitlines()
    assert shown[-2].split() == ["TARGET", "BREAKER", "FAILURES", "UNTIL"]
    assert shown[-1].split()[:3] == ["main", "open", "1"]
