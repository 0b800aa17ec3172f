"""The law of a key: whoever comes, leaves or fails, in whatever order, no two tries run at once,
and after one has gone well none runs again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing
from typing import Any

from attrs import define, field
from coe_server import idempotency
from coe_server.idempotency import HEADER
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from coe_core import hookimpl
from coe_core.access import LOCAL
from coe_core.admission import Ask
from coe_core.error import UpstreamRejected
from coe_core.event import TurnEnded, TurnFailed
from coe_core.http import HttpRequest
from coe_core.message import user
from coe_core.model import FREE, Chunk, Model
from coe_core.request import ChatRequest
from coe_core.service import Service, StateStore
from coe_core.testing import deployment
from coe_core.testing.memory import MemoryStateStore

ASKED = ChatRequest(model="gated", messages=(user("Hello"),))
SETTINGS = '[coe]\nembedder = "gated"\n[routing]\ndefault = "gated"\n'


@define
class Gated:
    """A provider whose calls each wait for the test to end them."""

    name: str = "gated"
    options: type = dict
    calls: list[asyncio.Future[None]] = field(factory=list)

    def models(self) -> list[Model]:
        return [Model(alias="gated", provider="gated", name="gated", price=FREE)]

    def describe(self, model: Model) -> Model:
        return model

    async def complete(
        self, model: Model, request: ChatRequest, *, group: str
    ) -> AsyncIterator[Chunk]:
        call = asyncio.get_running_loop().create_future()
        self.calls.append(call)
        yield Chunk(content=str(len(self.calls)))
        await call
        yield Chunk(finish_reason="stop")

    async def embed(self, model: Model, request: Any, *, group: str) -> Any:
        raise NotImplementedError

    @property
    def unanswered(self) -> list[asyncio.Future[None]]:
        return [call for call in self.calls if not call.done()]


class Tries(RuleBasedStateMachine):
    """Tries under one key, on one loop, which a rule runs until nothing moves."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.stack = AsyncExitStack()
        self.gated = Gated()
        self.waiting: list[asyncio.Task[str]] = []
        self.ended: list[asyncio.Task[str]] = []
        self.host = self.runner.run(self.stack.enter_async_context(self._deployment()))

    def _deployment(self) -> Any:
        gated = self.gated

        class GatedPlugin:
            @hookimpl
            def coe_model_providers(self, ctx: Any) -> list[Gated]:
                return [gated]

            @hookimpl
            def coe_services(self, ctx: Any) -> list[Service]:
                return [Service(contract=StateStore, provider=MemoryStateStore())]

        return deployment(SETTINGS, plugins={"gated": GatedPlugin})

    async def _settle(self) -> None:
        for _ in range(100):
            await asyncio.sleep(0)
        for task in [task for task in self.waiting if task.done()]:
            self.waiting.remove(task)
            self.ended.append(task)

    async def _try(self) -> str:
        request = HttpRequest(
            method="POST",
            path="/v1/chat/completions",
            headers={HEADER: "k"},
            body=b"{}",
            principal=LOCAL,
            application=self.host.application,
            request_id="r",
        )
        async with aclosing(
            idempotency.run(request, Ask(request=ASKED, principal=LOCAL))
        ) as events:
            async for event in events:
                if isinstance(event, TurnFailed):
                    raise event.error
                if isinstance(event, TurnEnded):
                    return event.record.answer[0].text
        raise AssertionError("a turn without an end")

    async def _come(self) -> None:
        self.waiting.append(asyncio.create_task(self._try()))

    @rule()
    def come(self) -> None:
        self.runner.run(self._come())
        self.runner.run(self._settle())

    @precondition(lambda self: self.gated.unanswered)
    @rule(well=st.booleans())
    def answer(self, well: bool) -> None:
        (call,) = self.gated.unanswered
        call.set_result(None) if well else call.set_exception(UpstreamRejected("no"))
        self.runner.run(self._settle())

    @precondition(lambda self: self.waiting)
    @rule(which=st.integers(0, 9))
    def leave(self, which: int) -> None:
        self.waiting[which % len(self.waiting)].cancel()
        self.runner.run(self._settle())

    @invariant()
    def one_runs_at_a_time_and_none_after_success(self) -> None:
        assert all(type(t.exception()) is UpstreamRejected for t in self.failures)
        answers = {task.result() for task in self.successes}
        assert len(answers) <= 1
        assert len(self.gated.unanswered) == (1 if self.waiting else 0)
        if answers:
            assert not self.waiting
            assert answers == {str(len(self.gated.calls))}

    @property
    def successes(self) -> list[asyncio.Task[str]]:
        return [t for t in self.ended if not t.cancelled() and t.exception() is None]

    @property
    def failures(self) -> list[asyncio.Task[str]]:
        return [t for t in self.ended if not t.cancelled() and t.exception() is not None]

    def teardown(self) -> None:
        for task in self.waiting:
            task.cancel()
        self.runner.run(self._settle())
        self.runner.run(self.stack.aclose())
        self.runner.close()


TestTries = Tries.TestCase
TestTries.settings = settings(max_examples=20, stateful_step_count=15, deadline=None)
