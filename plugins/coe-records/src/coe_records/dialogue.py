"""A conversation, or one call in it, as another system wrote it down."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from attrs import field, fields_dict, frozen

from coe_core.codec import decode, structure
from coe_core.message import Json, Message
from coe_core.model import Usage

MEMBERS = frozenset(fields_dict(Message)) - {"extra"}

MOST_USD = 10**12
"""No call costs more; a sum with more in it would tell nothing of all others."""


class Unreadable(Exception):
    """A line cannot be taken over; the message says why."""


@frozen(kw_only=True)
class Call:
    """What the export says of the call that gave the answer; nothing is made up."""

    provider: str = ""
    name: str = ""
    usage: Usage | None = None
    cost_usd: Decimal | None = None


@frozen(kw_only=True)
class Dialogue:
    """What one line of an export says.

    `answer` None means that `messages` are a whole conversation, answers included; otherwise they
    are what led to the answer.
    """

    format: str
    messages: tuple[Message, ...]
    answer: tuple[Message, ...] | None = None
    session: str | None = None
    source: str = ""
    """The id that the other system gave it."""
    turn: str = ""
    """The turn that it goes up to, if it is an export of ours: it may be here yet."""
    model: str = ""
    user: str | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    call: Call | None = None
    error: str | None = None
    metadata: Mapping[str, Json] = field(factory=dict)


def messages(value: Any) -> tuple[Message, ...]:
    """Read messages; a member of ours that is null is as if it were not there."""
    if not isinstance(value, list) or not value:
        raise Unreadable("it has no messages")
    known = [_without_null(each) for each in value]
    return structure(known, tuple[Message, ...])


def choices(response: Any) -> tuple[Message, ...]:
    """Read what was answered: a completion, a message, messages, or a text."""
    match unfolded(response):
        case str(text) if text:
            return (Message(role="assistant", content=text),)
        case {"choices": list(made)}:
            return tuple(one for choice in made for one in choices(choice.get("message")))
        case {"role": _} as message:
            return messages([message])
        case {"content": _} as message:
            return messages([{"role": "assistant", **message}])
        case [*several] if several:
            return messages(several)
        case _:
            return ()


def unfolded(value: Any) -> Any:
    """Read a value that may be JSON within a text, as exports of databases have it."""
    if isinstance(value, str) and value[:1] in ("{", "["):
        try:
            return decode(value)
        except (ValueError, RecursionError):
            return value
    return value


def instant(value: Any) -> datetime | None:
    """Read a time: Unix seconds, or a text; one without a zone is in UTC."""
    match value:
        case None | "":
            return None
        case int() | float() if not isinstance(value, bool):
            return datetime.fromtimestamp(value, UTC)
        case str():
            at = datetime.fromisoformat(value)
            return at.replace(tzinfo=at.tzinfo or UTC).astimezone(UTC)
        case _:
            raise Unreadable(f"{value!r:.40} is no time")


def dollars(value: Any) -> Decimal | None:
    """Read an amount; None when there is none."""
    if value in (None, ""):
        return None
    amount = structure(value, Decimal)
    if not 0 <= amount <= MOST_USD:
        raise Unreadable(f"{value!r:.40} is no cost in USD")
    return amount


def count(values: Iterable[Any]) -> int:
    """Add up tokens, of which any may be missing, or a number within a text."""
    return sum(_tokens(value) for value in values if value is not None)


def _tokens(value: Any) -> int:
    is_text = isinstance(value, str) and value.isascii() and value.isdecimal()
    tokens = structure(int(value) if is_text else value, int)
    if tokens < 0:
        raise Unreadable(f"{value!r:.40} is no number of tokens")
    return tokens


def _without_null(message: Any) -> Any:
    if not isinstance(message, dict):
        return message
    return {name: v for name, v in message.items() if v is not None or name not in MEMBERS}
