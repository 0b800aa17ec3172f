"""Answers put together from chunks, for the record and for clients that do not stream."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from attrs import define, evolve, field, frozen

from coe_core.error import UpstreamCut
from coe_core.event import Admitted, Delta, Event, TurnEnded, TurnFailed
from coe_core.message import FunctionCall, Message, ToolCall
from coe_core.model import Chunk, ToolCallDelta


@define
class PartialCall:
    """A tool call, as far as it has come."""

    id: str = ""
    name: str = ""
    arguments: list[str] = field(factory=list)
    extra: dict[str, Any] = field(factory=dict)

    def add(self, piece: ToolCallDelta) -> None:
        """Append a piece."""
        self.id = piece.id or self.id
        self.name = piece.name or self.name
        self.arguments.append(piece.arguments)
        self.extra.update(piece.extra)

    def call(self) -> ToolCall:
        """Return it as it is now."""
        function = FunctionCall(name=self.name, arguments="".join(self.arguments))
        return ToolCall(id=self.id, function=function, extra=dict(self.extra))


@define
class Choice:
    """One choice of an answer, as far as it has come."""

    texts: list[str] = field(factory=list)
    calls: dict[int, PartialCall] = field(factory=dict)
    finish_reason: str | None = None
    delta_extra: dict[str, Any] = field(factory=dict)
    choice_extra: dict[str, Any] = field(factory=dict)

    def add(self, chunk: Chunk) -> None:
        """Append a chunk."""
        if chunk.content:
            self.texts.append(chunk.content)
        for piece in chunk.tool_calls:
            self.calls.setdefault(piece.index, PartialCall()).add(piece)
        self.finish_reason = chunk.finish_reason or self.finish_reason
        if chunk.delta_extra:
            _merge(self.delta_extra, chunk.delta_extra)
        if chunk.choice_extra:
            _merge(self.choice_extra, chunk.choice_extra)

    @property
    def text(self) -> str:
        """The text so far."""
        return "".join(self.texts)

    def tool_calls(self) -> tuple[ToolCall, ...]:
        """Return its calls, as they are now."""
        return tuple(self.calls[index].call() for index in sorted(self.calls))

    def message(self) -> Message:
        """Return it as a message; without text the content is null beside calls, else empty."""
        text, calls = self.text, self.tool_calls()
        return Message(
            role="assistant",
            content=text if text or not calls else None,
            tool_calls=calls,
            extra=dict(self.delta_extra),
        )


def _merge(into: dict[str, Any], extra: Any) -> None:
    """Join what streams join: texts and lists grow, the rest is replaced."""
    for name, value in extra.items():
        old = into.get(name)
        if isinstance(value, str) and isinstance(old, str):
            into[name] = old + value
        elif isinstance(value, list) and isinstance(old, list):
            into[name] = [*old, *value]
        elif isinstance(value, dict) and isinstance(old, dict):
            _merge(old := dict(old), value)
            into[name] = old
        else:
            into[name] = value


@define
class AnswerBuilder:
    """Puts chunks together."""

    choices: dict[int, Choice] = field(factory=dict)
    extra: dict[str, Any] = field(factory=dict)
    """Unknown fields of the frames, the last of each."""

    def add(self, chunk: Chunk) -> None:
        """Append a chunk."""
        if not is_empty(chunk):
            if (choice := self.choices.get(chunk.index)) is None:
                choice = self.choices[chunk.index] = Choice()
            choice.add(chunk)
        if chunk.extra:
            self.extra.update(chunk.extra)

    @property
    def text(self) -> str:
        """The text of the first choice."""
        return self.choices[0].text if 0 in self.choices else ""

    def messages(self) -> tuple[Message, ...]:
        """Return one message per choice."""
        return tuple(self.choices[index].message() for index in sorted(self.choices))

    def calls(self) -> list[ToolCall]:
        """Return the calls of all choices."""
        return [call for index in sorted(self.choices) for call in self.choices[index].tool_calls()]

    def finish_reasons(self) -> tuple[str, ...]:
        """Return one finish reason per choice."""
        return tuple(self.choices[i].finish_reason or "stop" for i in sorted(self.choices))


@frozen(kw_only=True)
class Answer:
    """A whole answer, for a client that does not stream."""

    admitted: Admitted
    ended: TurnEnded
    messages: tuple[Message, ...]
    choice_extras: tuple[dict[str, Any], ...]
    extra: dict[str, Any]


async def collect(events: AsyncIterator[Event], admitted: Admitted | None = None) -> Answer:
    """Fold a turn's events into its answer; `admitted` is the first, where it was read before.
    Raises the error of a turn that failed.
    """
    builder = AnswerBuilder()
    async for event in events:
        match event:
            case Admitted():
                admitted = event
            case Delta():
                builder.add(event.chunk)
            case TurnFailed():
                raise event.error
            case TurnEnded() if admitted is not None:
                for index in range(len(event.finish_reasons)):
                    builder.choices.setdefault(index, Choice())
                return Answer(
                    admitted=admitted,
                    ended=event,
                    messages=builder.messages(),
                    choice_extras=tuple(
                        builder.choices[i].choice_extra for i in sorted(builder.choices)
                    ),
                    extra=builder.extra,
                )
    raise UpstreamCut("the turn ended without an answer")


def without_end(chunk: Chunk) -> Chunk:
    """Strip what is only sent once the record is on disk."""
    if chunk.finish_reason is None and chunk.usage is None:
        return chunk
    return evolve(chunk, finish_reason=None, usage=None)


def is_empty(chunk: Chunk) -> bool:
    """Whether a chunk has nothing for a client."""
    return not (
        chunk.content
        or chunk.tool_calls
        or chunk.finish_reason
        or chunk.delta_extra
        or chunk.choice_extra
    )
