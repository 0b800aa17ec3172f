"""Messages of a conversation, in OpenAI's terms, with every field that we do not know kept."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal, TypeAlias

from attrs import evolve, field, frozen

Json: TypeAlias = Any
"""A JSON value: None, bool, int, float, str, list or dict of these."""

Role: TypeAlias = Literal["system", "developer", "user", "assistant", "tool", "function"]


@frozen(kw_only=True)
class Part:
    """One part of a multimodal message. Only text is read here; all else travels in `extra`."""

    type: str
    text: str | None = None
    extra: Mapping[str, Json] = field(factory=dict)


@frozen(kw_only=True)
class FunctionCall:
    """The function a model wants called; `arguments` is the model's own JSON text, unchecked."""

    name: str
    arguments: str = "{}"
    extra: Mapping[str, Json] = field(factory=dict)


@frozen(kw_only=True)
class ToolCall:
    """A model's wish to call a tool."""

    id: str
    function: FunctionCall
    type: str = "function"
    extra: Mapping[str, Json] = field(factory=dict)


@frozen(kw_only=True)
class Message:
    """One message. `content` is None only beside tool calls or a refusal."""

    role: Role
    content: str | tuple[Part, ...] | None = None
    name: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    extra: Mapping[str, Json] = field(factory=dict)

    @property
    def text(self) -> str:
        """The text of the message, its text parts joined by newlines."""
        match self.content:
            case None:
                return ""
            case str(text):
                return text
            case parts:
                return "\n".join(part.text for part in parts if part.text is not None)


def system(text: str) -> Message:
    """Make a system message."""
    return Message(role="system", content=text)


FOR_THIS_TURN = "coe_for_this_turn"
"""Marks, in a message's `extra`, what later turns of the session do not see. It is recorded, and
taken off before a model is called.
"""


def instructions(text: str) -> Message:
    """Make a system message for one turn alone."""
    return Message(role="system", content=text, extra={FOR_THIS_TURN: True})


def lasting(messages: Iterable[Message]) -> tuple[Message, ...]:
    """Leave out what was for one turn alone."""
    return tuple(message for message in messages if FOR_THIS_TURN not in message.extra)


def unmarked(messages: Iterable[Message]) -> tuple[Message, ...]:
    """Take the mark off."""
    return tuple(
        evolve(message, extra={k: v for k, v in message.extra.items() if k != FOR_THIS_TURN})
        if FOR_THIS_TURN in message.extra
        else message
        for message in messages
    )


def user(text: str) -> Message:
    """Make a user message."""
    return Message(role="user", content=text)


def assistant(text: str) -> Message:
    """Make an assistant message."""
    return Message(role="assistant", content=text)
