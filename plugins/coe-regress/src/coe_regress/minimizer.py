"""Minimizing: a case is made as small as still fails in the same way.

What an expectation is about is never cut: where a request should have gone is a matter of its
words, so those of a misrouted request stay.
"""

from __future__ import annotations

from collections.abc import Iterator

from attrs import define, evolve, field

from coe_core.message import Message
from coe_core.request import ChatRequest
from coe_regress.case import Case
from coe_regress.replay import Replay, replay
from coe_regress.stage import Stage

MOST_REPLAYS = 60
"""How often a case is replayed to make it smaller; what is left then is left."""


@define
class Minimizer:
    """Tries smaller cases until none fails as the case does."""

    stage: Stage
    _left: int = field(default=MOST_REPLAYS, init=False)

    async def minimize(self, case: Case) -> Case:
        """Return the smallest case that was found. The case must fail on replay."""
        whole = await replay(case, self.stage)
        self._left = MOST_REPLAYS
        shrunk = True
        while shrunk and self._left:
            shrunk = False
            for smaller in _smaller(case):
                if self._left and await self._fails_alike(smaller, whole):
                    case, shrunk = smaller, True
                    break
        return case

    async def _fails_alike(self, case: Case, whole: Replay) -> bool:
        self._left -= 1
        tried = await replay(case, self.stage)
        return bool(tried.misses(case)) and likeness(tried) == likeness(whole)


def likeness(seen: Replay) -> tuple[object, ...]:
    """Return what must be equal for two replays to fail alike."""
    route = seen.decision
    taken = (route.router, route.target, route.name) if route is not None else None
    return (seen.happened, taken, bool(seen.unrecorded))


def _smaller(case: Case) -> Iterator[Case]:
    """Yield cases with something left out, the largest pieces first."""
    for said in _fewer(case.context.history):
        yield evolve(case, context=evolve(case.context, history=said))
    if case.context.summary is not None:
        yield evolve(case, context=evolve(case.context, summary=None))
    for request in _smaller_requests(case):
        yield evolve(case, request=request)


def _smaller_requests(case: Case) -> Iterator[ChatRequest]:
    request = case.request
    bare = ChatRequest(model=request.model, messages=request.messages, stream=request.stream)
    if request != bare:
        yield bare
        for name in ("tools", "response_format", "metadata", "extra", "stop", "stream_options"):
            default = getattr(bare, name)
            if getattr(request, name) != default:
                yield evolve(request, **{name: default})
    last = _last_user(request.messages)
    for index in range(len(request.messages)):
        if index != last and len(request.messages) > 1:
            kept = request.messages[:index] + request.messages[index + 1 :]
            yield evolve(request, messages=kept)
    if case.failure in ("wrong_route", "low_confidence"):
        return
    for shorter in _shorter(request.messages[last].text):
        message = evolve(request.messages[last], content=shorter)
        messages = (*request.messages[:last], message, *request.messages[last + 1 :])
        yield evolve(request, messages=messages)


def _last_user(messages: tuple[Message, ...]) -> int:
    users = [index for index, message in enumerate(messages) if message.role == "user"]
    return users[-1] if users else len(messages) - 1


def _fewer(said: tuple[Message, ...]) -> Iterator[tuple[Message, ...]]:
    if said:
        yield ()
        if len(said) > 1:
            yield said[len(said) // 2 :]


def _shorter(text: str) -> Iterator[str]:
    """Yield parts of a text: nothing but a word, each half, without each of its words."""
    words = text.split()
    if len(words) > 1:
        half = len(words) // 2
        yield words[0]
        yield " ".join(words[:half])
        yield " ".join(words[half:])
        if len(words) <= MOST_REPLAYS // 4:
            for index in range(len(words)):
                yield " ".join(words[:index] + words[index + 1 :])
