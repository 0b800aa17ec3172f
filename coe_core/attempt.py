"""Attempts at an answer: a model is called, and where it fails the attempt policies decide."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection
from contextlib import aclosing

from attrs import define, evolve, field
from loguru import logger

from coe_core.answer import AnswerBuilder, is_empty, without_end
from coe_core.caller import Call
from coe_core.contract import Continue, Failure, GiveUp, Retry, Switch, Verdict
from coe_core.error import BudgetExceeded, UpstreamError
from coe_core.event import AttemptStarted, Delta, Event
from coe_core.identity import AttemptId
from coe_core.model import Chunk, ToolCallDelta
from coe_core.progress import Progress
from coe_core.request import ChatRequest


@define
class ClientView:
    """What of an answer the client is shown: not the calls of our own tools."""

    ours: Collection[str]
    started: bool = False
    _shown: dict[tuple[int, int], int | None] = field(factory=dict, init=False)
    """Choice and index of a call to the index that the client sees; None for ours."""
    _counts: dict[int, int] = field(factory=dict, init=False)

    def show(self, chunk: Chunk) -> Chunk | None:
        """Return what the client sees of a chunk, None for nothing."""
        if self.ours and chunk.tool_calls:
            chunk = evolve(chunk, tool_calls=self._client_calls(chunk))
        chunk = without_end(chunk)
        if is_empty(chunk):
            return None
        self.started = True
        return chunk

    def _client_calls(self, chunk: Chunk) -> tuple[ToolCallDelta, ...]:
        shown = []
        for piece in chunk.tool_calls:
            key = (chunk.index, piece.index)
            if key not in self._shown:
                is_ours = piece.name in self.ours
                count = self._counts.get(chunk.index, 0)
                self._shown[key] = None if is_ours else count
                self._counts[chunk.index] = count + (not is_ours)
            if (index := self._shown[key]) is not None:
                shown.append(evolve(piece, index=index))
        return tuple(shown)


async def attempts(
    progress: Progress,
    target: str,
    request: ChatRequest,
    builder: AnswerBuilder,
    ours: Collection[str],
) -> AsyncGenerator[Event, None]:
    """Call `target`, and after a failure what the policies say, until an answer is whole.

    The whole answer, with the calls of our own tools, is put together in `builder`; the client is
    shown the rest. Raises the last `UpstreamError` when the policies give up.
    """
    turn = progress.turn
    view = ClientView(ours)
    continues: AttemptId | None = None
    while True:
        model = turn.application.model(target, turn.principal)
        call = await progress.caller.begin_chat(
            model, request, purpose="chat", parent=turn, continues=continues
        )
        progress.tried.append(target)
        yield AttemptStarted(id=call.id, model=target)
        try:
            async with aclosing(_deltas(call, request, builder, view)) as deltas:
                async for delta in deltas:
                    yield delta
        except UpstreamError as error:
            failed = error
        else:
            progress.answered_by = target
            progress.finish_reasons = builder.finish_reasons()
            return
        match await _verdict(progress, failed, target, builder, view):
            case GiveUp():
                raise failed
            case Retry(after_s=after_s):
                await progress.clock.sleep(after_s)
                builder.choices.clear()
            case Switch(model=other):
                target = other
                builder.choices.clear()
            case Continue(model=other, messages=messages):
                target = other
                request = evolve(request, messages=messages)
                continues = call.id


async def _deltas(
    call: Call, request: ChatRequest, builder: AnswerBuilder, view: ClientView
) -> AsyncGenerator[Event, None]:
    async with aclosing(call.chunks(request)) as chunks:
        async for chunk in chunks:
            builder.add(chunk)
            if (shown := view.show(chunk)) is not None:
                yield Delta(chunk=shown)


async def _verdict(
    progress: Progress, error: UpstreamError, target: str, builder: AnswerBuilder, view: ClientView
) -> Verdict:
    turn = progress.turn
    declared = turn.application.settings.routing.fallbacks
    chain = declared.get(progress.route.target if progress.route else target, ())
    failure = Failure(
        error=error,
        model=target,
        attempts=tuple(a for a in turn.ledger.attempts if a.purpose == "chat"),
        fallbacks=tuple(
            alias
            for alias in chain
            if alias not in progress.tried
            and alias in turn.application.allowed_models(turn.principal)
        ),
        text=builder.text,
        started=view.started,
    )
    for policy in turn.application.attempt_policies:
        try:
            verdict = await policy.after_failure(turn, failure)
        except BudgetExceeded:
            raise
        except Exception as raised:
            logger.bind(policy=policy.name).opt(exception=raised).error("a policy raised")
            continue
        if verdict is not None:
            return verdict
    return declared_fallbacks(failure)


def declared_fallbacks(failure: Failure) -> Verdict:
    """Decide as the core does when no policy has: take the next declared fallback, as long as the
    client has seen nothing and another target may do better.
    """
    if failure.started or not failure.error.retryable or not failure.fallbacks:
        return GiveUp()
    return Switch(model=failure.fallbacks[0])
