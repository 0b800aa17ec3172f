"""The host: it composes applications, opens their components, and swaps one for the next.

A change of the settings, or of a toggle in the state store, composes a new application and swaps
one reference. Turns in flight keep the application that they leased. A component that two
applications share is opened once, and closed when the last turn of the last of them has ended.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any, Self

from attrs import define, evolve, field, frozen
from loguru import logger

from coe_core import service, toggle
from coe_core.access import KEYS
from coe_core.application import Application, PluginProblem
from coe_core.budget import BudgetBook
from coe_core.caller import ModelCaller, ModelEmbedder
from coe_core.clock import SystemClock
from coe_core.compose import Part, PluginCommands, compose, compose_commands
from coe_core.ephemeral import ClosedJournal, EphemeralRecords
from coe_core.error import CoeError, StartRefused, Unavailable
from coe_core.message import Json
from coe_core.patience import to_the_end
from coe_core.plugin import Installed, discover, may_provide
from coe_core.rate import RateMeter
from coe_core.scheduler import JobScheduler
from coe_core.service import Clock, StateStore
from coe_core.settings import Settings, load
from coe_core.state import STATE_FILE, SqliteStateStore

LOG_FOLDER = "events"
"""Where a data folder has its log, whichever plugin keeps it."""


@frozen
class Standing:
    """What the state store said when an application was composed."""

    changes: Mapping[str, Json]
    """The operators' toggles and parameters."""
    holds_keys: bool

    @classmethod
    async def read(cls, store: StateStore) -> Self:
        """Read it."""
        found = [await store.list(prefix) for prefix in toggle.PREFIXES]
        changes = {key: each.value for values in found for key, each in values.items()}
        return cls(changes, holds_keys=bool(await store.list(KEYS)))


@define(eq=False)
class Host:
    """Owns the application in force. Make one with `Host.start`."""

    config: Path | None
    data_dir: Path
    settings: Settings
    installed: Mapping[str, Installed]
    problems: list[PluginProblem]
    """Of discovery, and of components that did not open."""
    engine_services: dict[type[Any], Any]
    kept: frozenset[str]
    """The plugins that this process cannot do without: it follows no toggle that says off."""
    application: Application = field(init=False)
    _parts: Mapping[str, Part] = field(factory=dict, init=False)
    _live: dict[Application, list[Any]] = field(factory=dict, init=False)
    """The applications that may still run turns, with their components."""
    _composed_now: set[int] = field(factory=set, init=False)
    """The components of the application that is being composed and opened."""
    _turns: Counter[Application] = field(factory=Counter, init=False)
    _open: dict[int, Any] = field(factory=dict, init=False)
    _standing: Standing = field(init=False)
    _watchers: list[asyncio.Task[None]] = field(factory=list, init=False)
    _swap: asyncio.Lock = field(factory=asyncio.Lock, init=False)

    @classmethod
    async def start(
        cls,
        config: Path | None,
        *,
        data_dir: Path | None = None,
        entry_points: Sequence[EntryPoint] | None = None,
        clock: Clock | None = None,
        kept: frozenset[str] = frozenset(),
    ) -> Self:
        """Load the settings, compose, and open every component. The plugins `kept` stay on as long
        as the host does.

        Raises `SettingsError`, or `StartRefused` when the data folder cannot be written or a
        required plugin has a problem.
        """
        settings = load(config)
        folder = data_dir or Path(settings.coe.data_dir)
        clock = clock or SystemClock()
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise StartRefused(
                f"the data folder {folder} cannot be made: {error.strerror}; "
                "name another with --data or [coe] data_dir"
            ) from error
        store = SqliteStateStore(folder / STATE_FILE)
        await store.open()
        installed, problems = discover(entry_points)
        leases = Leases()
        host = cls(
            config=config,
            data_dir=folder,
            settings=settings,
            installed=installed,
            problems=problems,
            engine_services=engine_services(settings, clock, store, leases),
            kept=kept,
        )
        leases.host = host
        try:
            await host._adopt(settings)
            host._refuse_without_required()
        except BaseException:
            await host.close()
            raise
        host._watch()
        return host

    async def work(self) -> None:
        """Run the deployment's jobs as well, those that fall to this process, until the end."""
        scheduler: JobScheduler = self.engine_services[service.Scheduler]
        if self.application.services[service.Scheduler] is scheduler:
            await scheduler.open()

    @asynccontextmanager
    async def lease(self) -> AsyncIterator[Application]:
        """Keep the application in force open until the block ends, whatever is swapped in."""
        application = self.application
        self._turns[application] += 1
        try:
            yield application
        finally:
            self._turns[application] -= 1
            if application is not self.application and not self._turns[application]:
                await asyncio.shield(self._retire())

    async def reload(self) -> Application:
        """Read the settings and toggles again, compose, and swap. Raises `SettingsError`, and
        then the application in force stays.
        """
        await self._adopt(load(self.config))
        return self.application

    async def change(self, key: str, value: Json, *, actor: str) -> None:
        """Change a toggle or an operator's parameter, as `Deployment.change` says: whole, whoever
        asked for it may have gone.
        """
        toggle.check(self.application, key, value)
        await to_the_end(self._change(key, value, actor))

    async def _change(self, key: str, value: Json, actor: str) -> None:
        async with self.lease() as before:
            await before.need(StateStore).put(key, value)
            try:
                await self._catch_up()
            finally:  # It stands, and others follow it, whether it could be applied here or not.
                closed = isinstance(self.application.need(service.Journal), ClosedJournal)
                # It may be this change that closed it.
                await toggle.record(before if closed else self.application, key, value, actor)

    async def close(self) -> None:
        """Close every component, the last opened first."""
        await self.engine_services[service.Scheduler].close()
        for task in self._watchers:
            task.cancel()
        await asyncio.gather(*self._watchers, return_exceptions=True)
        await self.engine_services[BudgetBook].close()
        for component in reversed(list(self._open.values())):
            await _close(component)
        self._open.clear()
        await self.engine_services[StateStore].close()

    async def _adopt(self, settings: Settings) -> None:
        """Compose with the present toggles, open what is new, and swap."""
        async with self._swap:
            await self._swap_in(settings)

    async def _catch_up(self) -> None:
        """Adopt what operators have switched, unless it is in force."""
        async with self._swap:
            if await Standing.read(self._store()) != self._standing:
                await self._swap_in(self.settings)

    async def _swap_in(self, settings: Settings) -> None:
        store = self._store()
        while True:
            standing = await Standing.read(store)
            application, self._parts = await self._composed(settings, standing)
            if (chosen := application.need(StateStore)) is store:
                break
            store = chosen  # It may say otherwise than the one that led to it.
        self.settings, self._standing = settings, standing
        self.application = application
        for accounts in (BudgetBook, RateMeter):
            self.engine_services[accounts].store = application.need(StateStore)
        await self._retire()

    def _keepers(self) -> set[str]:
        """Name the plugin whose state store says what is switched off: it cannot be itself."""
        return {name for name, part in self._parts.items() if StateStore in part.services}

    def _store(self) -> StateStore:
        if hasattr(self, "application"):
            return self.application.need(StateStore)
        return self.engine_services[StateStore]  # type: ignore[no-any-return]

    async def _composed(
        self, settings: Settings, standing: Standing
    ) -> tuple[Application, Mapping[str, Part]]:
        """Compose and open; a plugin with a component that does not open is left out."""
        installed = dict(self.installed)
        services = self.engine_services
        unopened: list[PluginProblem] = []
        kept = self.kept.union(settings.coe.required_plugins, self._keepers())
        changes = toggle.without(standing.changes, kept)
        while True:
            application, parts = compose(
                toggle.with_toggles(settings, changes, self.installed),
                installed=installed,
                engine_services=services,
                data_dir=self.data_dir,
                previous=self._parts,
                operator_params=toggle.operator_params(standing.changes),
            )
            self._composed_now = {id(c) for part in parts.values() for c in _components(part)}
            problem = await self._open_all(parts)
            if problem is not None and StateStore in parts[problem.plugin].services:
                raise StartRefused(f"without its state nobody knows who may do what: {problem}")
            if problem is not None:
                unopened.append(problem)
                del installed[problem.plugin]
            elif reason := self._why_unrecorded(application, parts):
                services = services | {service.Journal: ClosedJournal(reason)}
            else:
                break
        problems = (*self.problems, *unopened, *application.problems)
        application = evolve(
            application,
            problems=_settled(problems, unopened),
            holds_keys=standing.holds_keys,
            kept=kept,
        )
        self._live[application] = [c for part in parts.values() for c in _components(part)]
        self._composed_now = set()
        return application, parts

    def _why_unrecorded(self, application: Application, parts: Mapping[str, Part]) -> str | None:
        """Say why the engine's own journal, which forgets, may not stand in for another: a plugin
        that is switched on may be what keeps the log, or the data folder has one.
        """
        if not isinstance(application.need(service.Journal), EphemeralRecords):
            return None
        for name, installed in self.installed.items():
            if not application.settings.plugin(name).enabled:
                continue
            is_broken = name not in parts or parts[name].problems
            if is_broken and may_provide(installed, service.Journal):
                return f"the plugin {name!r} does not work, `coe plugins` says why"
        if (self.data_dir / LOG_FOLDER).exists():
            return "the data folder has a log, and no plugin in force keeps it: see `coe plugins`"
        return None

    async def _open_all(self, parts: Mapping[str, Part]) -> PluginProblem | None:
        """Open what is not open yet: first every plugin's services, those first that others were
        given, which may be used as soon as a component opens.
        """
        services = [(part, c) for part in _by_need(parts) for c in part.services.values()]
        every = [(part, c) for part in parts.values() for c in _components(part)]
        for part, component in (*services, *every):
            if id(component) in self._open:
                continue
            try:
                if (opening := getattr(component, "open", None)) is not None:
                    await opening()
            except Exception as error:
                name = part.installed.name
                logger.bind(plugin=name).opt(exception=error).debug("a component did not open")
                return part.installed.problem(
                    "open", _opening_text(component, error), "Mend what it says, then restart."
                )
            self._open[id(component)] = component
        return None

    async def _retire(self) -> None:
        """Close what no application that may still run a turn has."""
        for application in list(self._live):
            if application is not self.application and not self._turns[application]:
                del self._live[application]
                self._turns.pop(application, None)
        kept = {id(c) for components in self._live.values() for c in components}
        kept |= self._composed_now  # A turn of the application before may end meanwhile.
        for key in [key for key in self._open if key not in kept]:
            if (component := self._open.pop(key, None)) is not None:  # Else another sees to it.
                await _close(component)

    def _refuse_without_required(self) -> None:
        for name in self.settings.coe.required_plugins:
            problems = [p for p in self.application.problems if p.plugin == name]
            if problems:
                raise StartRefused(f"a required plugin does not work: {problems[0]}")
            if name not in self._parts:
                raise StartRefused(
                    f"the plugin {name!r} is required by [coe] required_plugins, but it is "
                    f"{'disabled' if name in self.installed else 'not installed'}"
                )

    def _watch(self) -> None:
        for prefix in (*toggle.PREFIXES, KEYS):
            self._watchers.append(asyncio.create_task(self._follow(prefix)))

    async def _follow(self, prefix: str) -> None:
        while True:
            async for _ in self._store().watch(prefix):
                try:
                    await self._catch_up()
                except CoeError as error:
                    logger.bind(prefix=prefix, code=error.code).error("a change was not applied")
            await asyncio.sleep(0)  # It was closed: another is in its place, or we are to end.


@define(eq=False)
class Leases:
    """The `Deployment` service, which must be there before there is a host to lease from."""

    host: Host | None = None

    def lease(self) -> AbstractAsyncContextManager[Application]:
        """Lease from the host."""
        return self._opened().lease()

    async def change(self, key: str, value: Json, *, actor: str) -> None:
        """Let the host change it."""
        await self._opened().change(key, value, actor=actor)

    def _opened(self) -> Host:
        if self.host is None:
            raise Unavailable("this deployment is composed, but not open")
        return self.host


def compose_unopened(settings: Settings, data_dir: Path) -> tuple[Application, Mapping[str, Part]]:
    """Compose what is installed with the present toggles, and open nothing: enough to look at."""
    installed, problems = discover()
    own = SqliteStateStore(data_dir / STATE_FILE)
    services = engine_services(settings, SystemClock(), own, Leases())

    def composed(store: Any) -> tuple[Application, Mapping[str, Part]]:
        state = _peeked(store)
        return compose(
            toggle.with_toggles(settings, state, installed),
            installed=installed,
            engine_services=services,
            data_dir=data_dir,
            operator_params=toggle.operator_params(state),
        )

    application, parts = composed(own)
    if (store := application.need(StateStore)) is not own and hasattr(store, "peek"):
        with suppress(CoeError):  # It is away; that is for a check to say.
            application, parts = composed(store)
    return evolve(application, problems=(*problems, *application.problems)), parts


def unopened_commands(settings: Settings, data_dir: Path) -> PluginCommands:
    """Return the plugins' subcommands with the present toggles, and open nothing."""
    installed, problems = discover()
    store = SqliteStateStore(data_dir / STATE_FILE)
    commands = compose_commands(
        toggle.with_toggles(settings, _peeked(store), installed),
        installed=installed,
        engine_services=engine_services(settings, SystemClock(), store, Leases()),
        data_dir=data_dir,
    )
    return evolve(commands, problems=(*problems, *commands.problems))


def _peeked(store: Any) -> dict[str, Json]:
    return {key: value for prefix in toggle.PREFIXES for key, value in store.peek(prefix).items()}


def engine_services(
    settings: Settings, clock: Clock, store: StateStore, leases: service.Deployment
) -> dict[type[Any], Any]:
    """Make the services of the engine; what plugins provide comes before them."""
    caller = ModelCaller(clock)
    records = EphemeralRecords()
    return {
        service.Clock: clock,
        service.StateStore: store,
        service.Journal: records,
        service.RecordReader: records,
        service.SessionStore: records,
        service.Deployment: leases,
        service.Scheduler: JobScheduler(leases, clock),
        service.Caller: caller,
        service.Embedder: ModelEmbedder(settings.coe.embedder, caller),
        ModelCaller: caller,
        RateMeter: RateMeter(store, clock),
        BudgetBook: BudgetBook(store, clock),
    }


def _by_need(parts: Mapping[str, Part]) -> list[Part]:
    """List the parts, each behind those whose services it was given, as far as that can be."""
    owners = {id(service): part for part in parts.values() for service in part.services.values()}
    listed: list[Part] = []
    entered: set[int] = set()

    def enter(part: Part) -> None:
        if id(part) in entered:
            return
        entered.add(id(part))
        for given in part.needs.values():
            if id(given) in owners:
                enter(owners[id(given)])
        listed.append(part)

    for part in parts.values():
        enter(part)
    return listed


def _components(part: Part) -> list[Any]:
    """List a plugin's components once each, services first, in the order they were given."""
    every = [*part.services.values(), *(c for some in part.components.values() for c in some)]
    return list({id(component): component for component in every}.values())


def _settled(
    problems: Sequence[PluginProblem], unopened: Sequence[PluginProblem]
) -> tuple[PluginProblem, ...]:
    """Drop the follow-up that a plugin left out for not opening is "not installed"."""
    left_out = {problem.plugin for problem in unopened}
    return tuple(p for p in problems if p.stage != "discover" or p.plugin not in left_out)


def _opening_text(component: Any, error: Exception) -> str:
    name = getattr(component, "name", type(component).__name__)
    text = error.message if isinstance(error, CoeError) else f"{type(error).__name__}: {error}"
    return f"{name} did not open: {text}"


async def _close(component: Any) -> None:
    try:
        if (closing := getattr(component, "close", None)) is not None:
            await closing()
    except Exception as error:
        name = getattr(component, "name", type(component).__name__)
        logger.bind(component=name).opt(exception=error).error("a component did not close")
