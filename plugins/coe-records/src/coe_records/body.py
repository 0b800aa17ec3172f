"""The bodies of lines, as far as tables are made of them.

They are read straight from the JSON into these classes: what no row needs is passed over, and
nothing is looked up by name. Values are what the JSON has: it was checked when it was written.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

import msgspec
from msgspec import Struct

from coe_core.codec import decode

Message: TypeAlias = dict[str, Any]


class Route(Struct, frozen=True, gc=False):
    """Where a turn went."""

    model: Any = None
    agent: Any = None
    router: Any = None


class Outcome(Struct, frozen=True, gc=False):
    """How a turn ended."""

    status: Any
    finish_reason: Any = None
    failure: Any = None
    error_code: Any = None


class Usage(Struct, frozen=True, gc=False):
    """Tokens of an attempt."""

    input_tokens: Any
    output_tokens: Any
    cached_input_tokens: Any
    reasoning_tokens: Any
    estimated: Any


class Attempt(Struct, frozen=True, kw_only=True, gc=False):
    """One call of a model."""

    id: Any
    purpose: Any
    model: Any
    provider: Any
    name: Any
    started_at: Any
    duration_s: Any
    first_token_s: Any = None
    usage: Usage
    cost_usd: Any = None
    price_version: Any = None
    overspent_usd: Any
    outcome: Any
    error_code: Any = None
    continues: Any = None


class Interaction(Struct, frozen=True, kw_only=True, gc=False):
    """A turn."""

    id: Any
    group: Any
    session: Any
    key_id: Any = None
    started_at: Any
    ended_at: Any
    requested_model: Any
    follows: Any = None
    parent_turn_id: Any = None
    root_id: Any
    depth: Any
    new_messages: list[Message]
    exchange: list[Message] = []
    answer: list[Message] = []
    route: Route | None = None
    attempts: list[Attempt] = []
    outcome: Outcome
    conversation: Any = None


class Feedback(Struct, frozen=True, kw_only=True, gc=False):
    """What somebody says of a turn."""

    id: Any
    turn_id: Any
    group: Any
    rating: Any = None
    label: Any = None
    route: Any = None
    text: Any = None
    actor: Any
    at: Any


class Summary(Struct, frozen=True, kw_only=True, gc=False):
    """A summary of a conversation's beginning."""

    id: Any
    group: Any
    session: Any
    first_turn: Any
    last_turn: Any
    messages: Any
    extends: Any = None
    summarizer: Any
    text: Any = None
    job_id: Any = None
    at: Any


class Job(Struct, frozen=True, gc=False):
    """Some work of a job, and what it called."""

    id: Any
    group: Any
    attempts: list[Attempt] = []


class Intent(Struct, frozen=True, gc=False):
    """An attempt that was about to start."""

    attempt_id: Any
    owner_id: Any
    group: Any
    model: Any
    purpose: Any
    reserved_usd: Any
    at: Any


class Settlement(Struct, frozen=True, gc=False):
    """An attempt of unknown end."""

    intent: Intent


class Repair(Struct, frozen=True, gc=False):
    """What a repair found and did, or a record that the log has lost."""

    lost: Any = None
    restored: dict[str, Any] = {}

    def records(self) -> Iterator[Owned]:
        """Yield what stands in a lost record's place."""
        for kind, body in self.restored.items():
            if kind in _OWNED:
                yield msgspec.convert(body, _OWNED[kind])


class Other(Struct, frozen=True, gc=False):
    """What no table has."""

    group: Any = None


Owned: TypeAlias = Interaction | Feedback | Summary | Job | Settlement
Body: TypeAlias = Owned | Repair | Other

_OWNED: Mapping[str, type[Owned]] = {
    "interaction": Interaction,
    "feedback": Feedback,
    "summary": Summary,
    "job": Job,
    "settlement": Settlement,
}
_KINDS: Mapping[str, type[Body]] = {**_OWNED, "repair": Repair}
_DECODERS = {kind: msgspec.json.Decoder(cls).decode for kind, cls in _KINDS.items()}
_decode_other = msgspec.json.Decoder(Other).decode


def body_of(kind: str, text: bytes) -> Body:
    """Read a body from its JSON, but for NULs in its names and labels, which no text of Postgres
    can hold: those in messages are for `Rows` to see to.
    """
    # A single byte is looked for ten times faster than six.
    if b"\\" in text and rb"\u0000" in text:
        return msgspec.convert(_without_nul(decode(text)), _KINDS.get(kind, Other))
    return _DECODERS.get(kind, _decode_other)(text)


_SAID = {"new_messages", "exchange", "answer"}


def _without_nul(value: Any) -> Any:
    match value:
        case str():
            return value.replace("\0", "\ufffd")
        case Mapping():
            return {n: v if n in _SAID else _without_nul(v) for n, v in value.items()}
        case list() | tuple():
            return [_without_nul(member) for member in value]
        case _:
            return value


def group_of(body: Body) -> str | None:
    """Tell whose a line is, None if it is no group's."""
    match body:
        case Settlement():
            group: str | None = body.intent.group
        case Repair():
            group = next(map(group_of, body.records()), None)
        case _:
            group = body.group
    return group


def once_of(body: Body) -> str | None:
    """Tell the id under which a line counts once, however often the log has it; None if it counts
    as often as it stands.
    """
    match body:
        case Interaction() | Feedback() | Summary():
            once: str | None = body.id
        case Repair():
            once = next(filter(None, map(once_of, body.records())), None)
        case _:
            once = None
    return once


def owner_of(body: Owned) -> str:
    """Tell the id of what a body is about: a turn, a job, feedback or a summary."""
    owner: str = body.intent.owner_id if isinstance(body, Settlement) else body.id
    return owner
