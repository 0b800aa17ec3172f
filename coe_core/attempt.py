"""Attempts at an answer: a model is called, and where it fails the attempt policies decide."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing

from attrs import define, evolve, field

from coe_core import guard, resilience
from coe_core.answer import AnswerBuilder, Choice
from coe_core.caller import Call
from coe_core.contract import Continue, Failure, Retry, Switch, Verdict
from coe_core.error import CoeError, ContextTooLong, UpstreamError
from coe_core.event import AttemptStarted, Delta, Event
from coe_core.identity import AttemptId
from coe_core.message import Message
from coe_core.model import Chunk
from coe_core.progress import Progress
from coe_core.request import ChatRequest
from coe_core.view import ClientView

Events = AsyncGenerator[Event, None]


@define
class Attempts:
    """Attempts at one answer, until it is whole or the policies give up.

    The whole answer, with the calls of our own tools, is put together in `builder`; the client is
    shown what `view` lets pass.
    """

    progress: Progress
    target: str
    prompt: ChatRequest
    builder: AnswerBuilder
    view: ClientView
    _request: ChatRequest = field(init=False)
    """The prompt, or that of a continuation."""
    _continues: AttemptId | None = field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        """Begin with the prompt."""
        self._request = self.prompt

    async def run(self) -> Events:
        """Call the target, and after a failure what the policies say. Raises the last error when
        they give up.
        """
        while True:
            call = await self._begin()
            yield AttemptStarted(id=call.id, model=self.target)
            failed: CoeError | None = None
            try:
                async with aclosing(call.chunks(self._request)) as chunks:
                    async for chunk in chunks:
                        for shown in self._take(self.view.join(chunk)):
                            yield Delta(chunk=shown)
                for kept in self.view.rest():
                    for shown in self._take(kept):
                        yield Delta(chunk=shown)
            except (UpstreamError, ContextTooLong) as error:
                failed = error
            if call.attempt is not None:
                await resilience.note(self.progress.turn, call.attempt, failed)
            if failed is None:
                break
            if self.progress.is_late:
                raise failed
            await self._follow(await self._verdict(failed), failed, call.id)
        for chunk in self.view.release():
            yield Delta(chunk=chunk)
        self.progress.answered_by = self.target
        self.progress.finish_reasons = self.builder.finish_reasons()

    async def resume(self, verdict: Continue, after: AttemptId | None) -> None:
        """Go on from what the client has seen; what is added to the prompt leaves us too."""
        self.target, self._continues = verdict.model, after
        turn, known = self.progress.turn, self.prompt.messages
        messages: list[Message] = []
        for message in verdict.messages:
            added = () if message in known else (message,)
            verdicts = self.progress.verdicts
            messages += await guard.inspect_messages(turn, "egress", added, verdicts) or (message,)
        self._request = _limited(evolve(self.prompt, messages=tuple(messages)), verdict)
        said = self.builder.choices.get(0, Choice())
        kept = Choice([self.view.text], {}, None, said.delta_extra, said.choice_extra)
        self.builder.choices = {0: kept}
        self.view.begin(verdict.seam)

    async def _begin(self) -> Call:
        progress = self.progress
        self.target = resilience.instead(progress, self.target)
        model = progress.turn.application.model(self.target, progress.turn.principal)
        call = await progress.caller.begin_chat(
            model, self._request, purpose="chat", parent=progress.turn, continues=self._continues
        )
        progress.tried.append(self.target)
        return call

    def _take(self, chunk: Chunk) -> Iterable[Chunk]:
        self.builder.add(chunk)
        return self.view.show(chunk)

    async def _verdict(self, error: CoeError) -> Verdict:
        failure = Failure(
            error=error,
            model=self.target,
            attempts=resilience.chat_attempts(self.progress.turn),
            fallbacks=resilience.fallbacks(self.progress, self.target),
            text=self.view.text,
            started=self.view.started,
            messages=self.prompt.messages,
        )
        return await resilience.verdict(self.progress.turn, failure)

    async def _follow(self, verdict: Verdict, failed: CoeError, after: AttemptId) -> None:
        """Do what a policy says, unless the client would see something twice."""
        match verdict:
            case Retry(after_s=after_s) if not self.view.started:
                await self.progress.clock.sleep(after_s)
                self._restart(self.target)
            case Switch(model=model) if not self.view.started:
                self._restart(model)
            case Continue() if not self.view.called:
                await self.resume(verdict, after)
            case _:
                raise failed

    def _restart(self, target: str) -> None:
        self.target, self._request, self._continues = target, self.prompt, None
        self.builder.choices.clear()
        self.view.begin()


async def rescue(progress: Progress, verdict: Switch | Continue) -> Events:
    """Answer the client's own request after the turn has failed, going on from what it has seen."""
    turn, sent = progress.turn, progress.sent
    messages = await guard.inspect_messages(
        turn, "egress", resilience.conversation(turn), progress.verdicts
    )
    request = evolve(turn.request, messages=messages)
    view = ClientView((), resilience.held(turn), bool(sent.choices), texts=[sent.text])
    work = Attempts(progress, verdict.model, request, AnswerBuilder(), view)
    if isinstance(verdict, Continue):
        last = resilience.chat_attempts(turn)[-1:]
        await work.resume(verdict, last[0].id if last else None)
    async with aclosing(work.run()) as events:
        async for event in events:
            yield event


def _limited(request: ChatRequest, verdict: Continue) -> ChatRequest:
    """Let the rest be as long as the policy says, in the field that the client used."""
    limit = verdict.output_limit_tokens
    if limit is None:
        return request
    if request.max_completion_tokens is not None:
        return evolve(request, max_completion_tokens=limit)
    return evolve(request, max_tokens=limit)
