"""The stage: a deployment's own routers, policies and guards, with nothing real around them.

Each replay composes its own, so that what one leaves behind (an open breaker, a cooldown, an
outcome that was learnt) is not there for the next, in whatever order they run.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

from attrs import define, evolve, field, frozen

from coe_core.application import Application
from coe_core.budget import BudgetBook
from coe_core.compose import SERVICES, Part, compose
from coe_core.error import Conflict, StartRefused
from coe_core.host import engine_services
from coe_core.identity import SessionId, TurnId
from coe_core.message import Json
from coe_core.plugin import Installed, discover, offers_services
from coe_core.record import Interaction
from coe_core.service import History, SessionStore
from coe_core.settings import Settings, load
from coe_core.testing import MemoryStateStore
from coe_regress.case import Case, Context
from coe_regress.clock import ReplayClock
from coe_regress.tape import Embed, PlayedProvider, PlayedRetriever, PlayedTool, Tape
from coe_regress.vectors import VectorShelf

OWN = ("routers", "attempt_policies", "guards", "prompt_packs", "agents")
"""What takes part in a replay as it is. Sinks hear of turns when they are over, and some tell
others: of a replay there is nothing to tell.
"""
PLAYED = ("model_providers", "tools")
"""What is asked what it is, and played."""
PATIENCE_S = 600.0
"""How long a part may take: what passes only because a machine is quick proves nothing."""
SESSION = SessionId("recorded")
BEFORE = TurnId("recorded")


@frozen
class PlayedSession:
    """A `SessionStore` with the conversation before the turn."""

    context: Context

    async def head(self, group: str, session_id: SessionId) -> TurnId | None:
        return BEFORE if self.context.history or self.context.summary else None

    async def find(self, group: str, conversation: str) -> Interaction | None:
        return None

    async def history(self, group: str, turn_id: TurnId, *, limit: int) -> History:
        said = self.context.history[-limit:] if limit else ()
        return History(messages=said, summary=self.context.summary)


@frozen
class Absent:
    """Stands for a service that a replay has not: who asks it asks what was not recorded."""

    service: str
    tape: Tape

    def __getattr__(self, name: str) -> Any:
        def refuse(*_: Any, **__: Any) -> Any:
            raise self.tape.missing(f"{self.service}.{name} is not there in a replay")

        return refuse


@define(eq=False)
class _OnlyThis:
    """A `Deployment` that has one application, and keeps it."""

    application: Application = field(init=False)

    @asynccontextmanager
    async def _lease(self) -> AsyncIterator[Application]:
        yield self.application

    def lease(self) -> AbstractAsyncContextManager[Application]:
        return self._lease()

    async def change(self, key: str, value: Json, *, actor: str) -> None:
        raise Conflict(f"{key} cannot be changed by {actor}: a replay is as it was recorded")


@define(eq=False)
class Stage:
    """Composes what a case is replayed on. Use it as a context manager."""

    settings: Settings
    installed: Mapping[str, Installed]
    vectors: VectorShelf = field(factory=VectorShelf)
    embed: Embed | None = None
    _folder: TemporaryDirectory[str] = field(
        init=False, factory=lambda: TemporaryDirectory(prefix="coe-regress-")
    )

    @classmethod
    def of(
        cls,
        config: Path | None,
        *,
        installed: Mapping[str, Installed] | None = None,
        vectors: VectorShelf | None = None,
        embed: Embed | None = None,
    ) -> Stage:
        """Read the deployment's settings. Plugins that provide services are left out: what they
        would read and write is not there. Raises `SettingsError`.
        """
        settings = load(config)
        found = discover()[0] if installed is None else installed
        on = {name: each for name, each in found.items() if settings.plugin(name).enabled}
        kept = {name: each for name, each in on.items() if not offers_services(each)}
        tables = {name: table for name, table in settings.plugins.items() if name in kept}
        patient = evolve(settings.coe, component_timeout_s=PATIENCE_S)
        shelf = VectorShelf() if vectors is None else vectors
        return cls(evolve(settings, coe=patient, plugins=tables), kept, shelf, embed)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Remove what the replays wrote."""
        self._folder.cleanup()

    @asynccontextmanager
    async def set(self, case: Case) -> AsyncIterator[tuple[Application, Tape]]:
        """Compose for one replay of a case, and open what opens. Raises `StartRefused` when a
        plugin that takes part does not work.
        """
        clock = ReplayClock(case.context.started_at)
        tape = Tape(case.recording, self.vectors, clock, self.embed)
        application, parts = self._composed(case, clock, tape)
        await _spend(application, case.context, clock)
        async with AsyncExitStack() as stack:
            for component in _components(parts):
                if (closing := getattr(component, "close", None)) is not None:
                    stack.push_async_callback(closing)
                if (opening := getattr(component, "open", None)) is not None:
                    await opening()
            yield application, tape

    def _composed(
        self, case: Case, clock: ReplayClock, tape: Tape
    ) -> tuple[Application, Mapping[str, Part]]:
        deployment = _OnlyThis()
        absent = {each: Absent(each.__name__, tape) for each in SERVICES}
        engine = engine_services(self.settings, clock, MemoryStateStore(), deployment)
        services = absent | engine | {SessionStore: PlayedSession(case.context)}
        application, parts = compose(
            self.settings,
            installed=self.installed,
            engine_services=services,
            data_dir=Path(self._folder.name),
            kinds=(*OWN, *PLAYED),
        )
        if application.problems:
            raise StartRefused(f"this cannot be replayed on: {application.problems[0]}")
        self._leave_out_idle(parts)
        providers = application.model_providers.items()
        deployment.application = evolve(
            application,
            model_providers={name: PlayedProvider(each, tape) for name, each in providers},
            tools={
                name: evolve(checked, tool=PlayedTool(checked.tool, tape))
                for name, checked in application.tools.items()
            },
            retrievers=(PlayedRetriever(tape),) if case.recording.passages else (),
            settings=_with_known_params(application),
        )
        return deployment.application, parts

    def _leave_out_idle(self, parts: Mapping[str, Part]) -> None:
        """Spare the next replays the plugins that take no part, most of them."""
        busy = {name for name, part in parts.items() if any(part.components.values())}
        if busy != self.installed.keys():
            self.installed = {name: self.installed[name] for name in busy}
            tables = {n: table for n, table in self.settings.plugins.items() if n in busy}
            self.settings = evolve(self.settings, plugins=tables)


def _with_known_params(application: Application) -> Settings:
    """Leave out what groups set of plugins that take no part."""
    settings, known = application.settings, application.parameters
    groups = {
        name: evolve(table, params={n: v for n, v in table.params.items() if n in known})
        for name, table in settings.groups.items()
    }
    return evolve(settings, groups=groups)


async def _spend(application: Application, context: Context, clock: ReplayClock) -> None:
    """Let the group have spent what it had."""
    spent = context.spent_usd
    if spent:
        book = BudgetBook(application.need(BudgetBook).store, clock)
        (await book.budget(context.group, spent).reserve(spent)).settle(spent)
        await book.close()


def _components(parts: Mapping[str, Part]) -> list[Any]:
    every = [c for part in parts.values() for kind in OWN for c in part.components[kind]]
    return list({id(component): component for component in every}.values())
