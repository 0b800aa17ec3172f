"""A day of traffic, scripted, with failures of every class put into it."""

from __future__ import annotations

import random
import zlib
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from attrs import define, field, frozen
from coe_fallback.plugin import FallbackPlugin
from coe_regress.capture import Capturer
from coe_regress.folder import Folder
from coe_regress.settings import Settings
from coe_regress.stage import Stage
from coe_regress.vectors import VectorShelf
from coe_routing.plugin import RoutingPlugin

from coe_core.access import GroupName, Principal
from coe_core.admission import Ask
from coe_core.engine import keep, run
from coe_core.error import UpstreamCut, UpstreamMalformed, UpstreamOverloaded, UpstreamTimeout
from coe_core.event import TurnEnded, TurnFailed
from coe_core.hookspec import hookimpl
from coe_core.host import Host
from coe_core.identity import SessionId, uuid7
from coe_core.message import user
from coe_core.model import Chunk, Model, Usage, Vectors
from coe_core.record import Feedback, Interaction
from coe_core.request import ChatRequest, EmbeddingRequest
from coe_core.testing import ScriptedProvider, deployment
from coe_core.testing.clock import EPOCH

from .quick import QuickClock

DIMENSIONS = 64

MODELS = "".join(
    f'[models.{alias}]\nprovider = "scripted"\nmodel = "{alias}"\n'
    'price = { input = "100", output = "400" }\n'
    for alias in ("main", "spare", "large", "slow", "flaky", "small")
)
ROUTES = """
[coe]
embedder = "scripted-embed"

[routing]
default = "main"
fallbacks = {{ flaky = ["spare"]{fallbacks} }}

[plugins.fallback]
retries = 0

[plugins.routing]
learn = false
out_of_scope = ["tell me a joke", "what a fine day"]

[plugins.routing.routes.refunds]
examples = ["I want my money back", "please refund the order", "환불 해 주세요"{refunds}]
model = "small"

[plugins.routing.routes.code]
examples = ["write a python function", "fix the bug in my script", "코드 고쳐 줘"]
model = "{code}"

[plugins.routing.routes.reports]
examples = ["summarize the weekly report", "make the quarterly report", "보고서 요약 해 줘"]
model = "slow"
{rules}

[groups.poor]
budget_usd_month = "{budget}"

[groups.locked]
models = [{locked}]
"""
BEFORE = MODELS + ROUTES.format(
    fallbacks="", refunds="", rules="", code="flaky", budget="0.5", locked='"spare"'
)
AFTER = MODELS + ROUTES.format(
    fallbacks=', main = ["spare"], slow = ["spare"], large = ["spare"]',
    refunds=', "I was charged twice for one purchase", "카드 결제 두 번 됐어요"',
    rules="""
[[plugins.routing.rules]]
name = "poems are for the large one"
text = ["poem"]
model = "large"

[[plugins.routing.rules]]
name = "a book is no order"
text = ["book"]
route = "code"

[[plugins.routing.rules]]
name = "the script of a play is no script"
text = ["play"]
model = "large"
""",
    code="spare",
    budget="1000",
    locked='"spare", "main"',
)
"""The deployment, with what somebody has mended."""


@define
class FailingProvider(ScriptedProvider):
    """Fails as it is told, model by model; embeds texts by their words."""

    faults: dict[str, Callable[[], Exception | None]] = field(factory=dict)

    async def complete(
        self, model: Model, request: ChatRequest, *, group: str
    ) -> AsyncIterator[Chunk]:
        error = self.faults.get(model.alias, lambda: None)()
        if error is not None:
            if isinstance(error, UpstreamCut):
                yield Chunk(content="This is how it ")
            raise error
        yield Chunk(content=f"This is what {model.alias} says.", finish_reason="stop")
        yield Chunk(usage=Usage(input_tokens=20, output_tokens=20))

    async def embed(self, model: Model, request: EmbeddingRequest, *, group: str) -> Vectors:
        return Vectors.of([_row(text) for text in request.input], Usage(input_tokens=1))


def _row(text: str) -> list[float]:
    row = [0.01] * DIMENSIONS
    for word in text.casefold().split():
        row[zlib.crc32(word.encode()) % DIMENSIONS] += 1.0
    return row


@frozen
class ScriptedPlugin:
    """Contributes the provider; a class attribute, as the plugin is made by the host."""

    provider = FailingProvider()

    @hookimpl
    def coe_model_providers(self, ctx: Any) -> list[FailingProvider]:
        return [self.provider]


PLUGINS: Mapping[str, type[Any]] = {
    "scripted": ScriptedPlugin,
    "routing": RoutingPlugin,
    "fallback": FallbackPlugin,
}
ORDINARY = (
    "please refund the order of yesterday",
    "환불 해 주세요 오늘",
    "what is new in the office",
    "오늘 점심 뭐 먹지",
    "please refund my money back",
)
NAMES = ("010-1234-5678", "kim.minsu@example.org", "900101-1234567")
"""Synthetic, and not to be found in any case."""


@define
class Day:
    """The traffic, and what was recorded of it."""

    host: Host
    clock: QuickClock
    chance: random.Random
    provider: FailingProvider
    injected: dict[str, str] = field(factory=dict)
    """Turn to what was put into it."""

    async def pass_(self, turns: int) -> None:
        """Let the day pass: about a fifth of the turns fail, in every way there is."""
        ways = (
            self._target_error,
            self._timeout,
            self._fallback,
            self._budget,
            self._no_route,
            self._unsure,
            self._misread,
            self._bad_answer,
            self._asked_again,
        )
        for number in range(turns):
            await self.clock.pass_time(timedelta(days=1).total_seconds() / turns)
            if number % 5 == 0:
                await ways[number // 5 % len(ways)]()
            else:
                await self.ask(self.chance.choice(ORDINARY))

    async def ask(
        self,
        text: str,
        *,
        group: str = "default",
        model: str = "auto",
        session: str | None = None,
        before: tuple[str, ...] = (),
        **asked: Any,
    ) -> Interaction:
        """Run a turn, and return its record."""
        said = (*(user(each) for each in before), user(text))
        request = ChatRequest(model=model, messages=said, **asked)
        ask = Ask(
            request=request,
            principal=Principal(group=GroupName(group)),
            session_id=SessionId(session) if session else None,
        )
        async with self.host.lease() as application, aclosing(run(application, ask)) as events:
            async for event in events:
                if isinstance(event, TurnEnded | TurnFailed):
                    return event.record
        raise AssertionError

    async def say(self, turn: Interaction, **said: Any) -> None:
        """Give feedback."""
        feedback = Feedback(
            id=uuid7(),
            turn_id=turn.id,
            group=turn.group,
            actor="key-7",
            at=self.clock.now(),
            **said,
        )
        await keep(self.host.application, feedback)

    async def _failing(self, alias: str, error: Exception, text: str, **asked: Any) -> Interaction:
        self.provider.faults[alias] = lambda: error
        turn = await self.ask(text, before=(f"call me: {self.chance.choice(NAMES)}",), **asked)
        del self.provider.faults[alias]
        assert turn.outcome.failure is not None, turn
        # Long enough for breakers and cooldowns to be over.
        await self.clock.pass_time(700)
        return turn

    async def _target_error(self) -> None:
        errors = (UpstreamMalformed, UpstreamOverloaded, UpstreamCut)
        error = self.chance.choice(errors)("it burns")
        texts = ("what shall we do about the heating", "내일 회의실 어디 예요")
        stream = self.chance.random() < 0.5
        turn = await self._failing("main", error, self.chance.choice(texts), stream=stream)
        self.injected[turn.id] = "target_error"

    async def _timeout(self) -> None:
        texts = ("summarize the weekly report", "보고서 요약 해 줘")
        error = UpstreamTimeout("too slow")
        turn = await self._failing("slow", error, self.chance.choice(texts))
        self.injected[turn.id] = "timeout"

    async def _fallback(self) -> None:
        texts = ("write a python function", "코드 고쳐 줘")
        error = UpstreamOverloaded("busy")
        turn = await self._failing("flaky", error, self.chance.choice(texts))
        self.injected[turn.id] = "fallback_used"

    async def _budget(self) -> None:
        turn = await self.ask("and what of me", group="poor", max_tokens=2000)
        self.injected[turn.id] = "budget_denied"

    async def _no_route(self) -> None:
        turn = await self.ask("may I ask something", group="locked")
        self.injected[turn.id] = "no_route"

    async def _unsure(self) -> None:
        texts = ("I was charged twice for one purchase today", "카드 결제 두 번 됐어요 왜")
        turn = await self.ask(self.chance.choice(texts))
        await self.say(turn, route="refunds", text="mail kim.minsu@example.org about it")
        self.injected[turn.id] = "low_confidence"

    async def _misread(self) -> None:
        turn = await self.ask("please refund the order of the book I want my money back")
        await self.say(turn, route="code", label="misread")
        self.injected[turn.id] = "wrong_route"

    async def _bad_answer(self) -> None:
        turn = await self.ask("fix the bug in my script of the play")
        await self.say(turn, rating=-1)
        self.injected[turn.id] = "wrong_route"

    async def _asked_again(self) -> None:
        session = f"s{len(self.injected)}"
        turn = await self.ask("write me a poem on spring", session=session)
        await self.clock.pass_time(5)
        await self.ask("write me a poem on spring", session=session, model="large")
        self.injected[turn.id] = "low_confidence"


@asynccontextmanager
async def day(folder: Path, seed: int) -> AsyncIterator[Day]:
    """Open the deployment of the day."""
    ScriptedPlugin.provider = FailingProvider()
    clock = QuickClock(EPOCH)
    async with deployment(BEFORE, plugins=dict(PLUGINS), data_dir=folder, clock=clock) as host:
        assert host.application.problems == ()
        yield Day(host, clock, random.Random(seed), ScriptedPlugin.provider)


@asynccontextmanager
async def capturing(day: Day, folder: Folder) -> AsyncIterator[Capturer]:
    """Open what makes cases of it."""
    with stage(day, day.host.config, folder, records=True) as made:
        yield Capturer(day.host.application, made, folder, Settings(), "tester")
        made.vectors.write(folder.vectors)


def stage(day: Day, config: Path | None, folder: Folder, *, records: bool = False) -> Stage:
    """Make the stage for settings; `records` asks the embedder for what is not recorded."""

    async def embed(model: Model, request: EmbeddingRequest) -> Vectors:
        return await day.provider.embed(model, request, group="default")

    return Stage.of(
        config,
        installed=day.host.installed,
        vectors=VectorShelf.read(folder.vectors),
        embed=embed if records else None,
    )


def start_of(day: Day) -> datetime:
    """Return when the day began."""
    return EPOCH
