"""What is written down: the bodies of the log's lines (`specs/record.schema.json`).

Each class is one kind of record. The envelope around it (writer, sequence, chain, checksum)
belongs to the journal.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Literal, TypeAlias

from attrs import field, frozen
from attrs.validators import ge, le, optional

from coe_core.codec import canonical
from coe_core.identity import SessionId, TurnId
from coe_core.ledger import Attempt, Intent
from coe_core.message import Json, Message
from coe_core.parameter import ParameterValue
from coe_core.turn import GuardVerdict, Outcome, Passage, Route, ToolRun


@frozen(kw_only=True)
class Provenance:
    """Where a turn comes from that CoE did not run, but was told of afterwards."""

    format: str
    """In what it was told: `openai`, `litellm`, `langfuse`."""
    source: str = ""
    """The id that the other system gave it."""
    at: datetime | None = None
    """When the other system says that it began; None if it does not say. The turn's own times are
    then those of the import.
    """
    metadata: Mapping[str, Json] = field(factory=dict)
    """What else was said of it."""


@frozen(kw_only=True)
class Interaction:
    """One turn, ended. The only source of messages, attempts, KPIs and whatever else is counted."""

    id: TurnId
    group: str
    session: SessionId
    key_id: str | None = None
    user: str | None = None
    role: str = "member"
    started_at: datetime
    ended_at: datetime
    requested_model: str
    request_sha256: str
    """Of the request as the client sent it, in canonical JSON."""
    follows: TurnId | None = None
    parent_turn_id: TurnId | None = None
    root_id: TurnId
    depth: int = 0
    new_messages: tuple[Message, ...]
    """What the session did not have yet."""
    options: Mapping[str, Json] = field(factory=dict)
    """What the client asked for beside model and messages: tools, `stream`, `metadata`, ..."""
    headers: Mapping[str, str] = field(factory=dict)
    """Those of the request that speak to CoE, `x-coe-route` say: a router may have read them."""
    route: Route | None = None
    params: Mapping[str, ParameterValue] = field(factory=dict)
    passages: tuple[Passage, ...] = ()
    """What the model was shown, numbered from 1 as they stand."""
    passages_used: tuple[str, ...] = ()
    """The ids of those that the answer cites, in the order in which it does."""
    prompts: Mapping[str, str] = field(factory=dict)
    """Prompt pack to version."""
    attempts: tuple[Attempt, ...] = ()
    exchange: tuple[Message, ...] = ()
    """Between request and answer: the model's calls of our own tools, and their results."""
    tool_runs: tuple[ToolRun, ...] = ()
    answer: tuple[Message, ...] = ()
    """One message per choice; what was said until then if the turn broke off."""
    outcome: Outcome
    conversation: str = ""
    """The digest of the conversation up to and with the answer: see `conversation_digest`."""
    exposures: Mapping[str, str] = field(factory=dict)
    """Experiment to arm."""
    verdicts: tuple[GuardVerdict, ...] = ()
    provenance: Provenance | None = None
    """None for a turn that CoE ran itself."""

    @property
    def pending(self) -> bool:
        """Whether the model called our tools and the client's together, and ours have run: the
        exchange then holds all of the calls, the answer the client's alone.
        """
        exchanged = {call.id for message in self.exchange for call in message.tool_calls}
        return any(call.id in exchanged for answer in self.answer for call in answer.tool_calls)

    @property
    def messages(self) -> tuple[Message, ...]:
        """What the turn adds to its conversation: the new messages, what passed between the model
        and our own tools, and the first choice of the answer.
        """
        answer = () if self.pending else self.answer[:1]
        return (*self.new_messages, *self.exchange, *answer)


@frozen(kw_only=True)
class StateChange:
    """Owned state was changed: a toggle, a key's role, a group's budget. Never holds a secret."""

    key: str
    value: Json
    """None when it was removed."""
    actor: str
    """The key id, or the name of the machine's user."""
    at: datetime


@frozen(kw_only=True)
class Feedback:
    """What somebody says of a turn once it is over. At least one of `rating`, `label`, `route` and
    `text` is there.
    """

    id: str
    turn_id: TurnId
    group: str
    rating: int | None = field(default=None, validator=optional([ge(-1), le(1)]))
    """1 for a good answer, -1 for a bad one, 0 for neither."""
    label: str | None = None
    """A word of the group's own, to count by."""
    route: str | None = None
    """The alias or the agent that should have answered, or the name of the right route."""
    text: str | None = None
    actor: str
    """The key id, or the name of the machine's user."""
    at: datetime

    def __attrs_post_init__(self) -> None:
        """Refuse feedback that says nothing."""
        if self.rating is None and not (self.label or self.route or self.text):
            msg = "feedback has a rating, a label, a route or a text"
            raise ValueError(msg)


@frozen(kw_only=True)
class Settlement:
    """An attempt whose process died in it: its tokens are unknown, and it is booked at what was
    reserved for it, marked as an estimate.
    """

    intent: Intent


@frozen(kw_only=True)
class Summary:
    """A summary of a conversation's beginning: what it says of all turns through `last_turn`, made
    from the summary that it extends and the messages of the turns since.
    """

    id: str
    """The digest of what it was made from, so that the same is made once: see `summary_digest`."""
    group: str
    session: SessionId
    first_turn: TurnId
    last_turn: TurnId
    """The range of turns that were added."""
    messages: int
    """How many messages they have."""
    extends: str | None = None
    """The digest of the summary that they were added to; None for a conversation's first."""
    summarizer: str
    """Which one made it: `extractive`, `model`, ..."""
    text: str
    job_id: str | None = None
    """The work that paid for it, where models were called."""
    at: datetime


@frozen(kw_only=True)
class JobRun:
    """Some work of a job for a group, ended, and what it called: nobody's turn pays for that."""

    id: str
    job: str
    group: str
    started_at: datetime
    ended_at: datetime
    attempts: tuple[Attempt, ...]
    outcome: Literal["ok", "failed"]
    error_code: str | None = None
    error: str | None = None


Record: TypeAlias = Interaction | StateChange | Feedback | Settlement | Summary | JobRun


@frozen(kw_only=True)
class Pointer:
    """Where a record lies in the log."""

    segment: str
    """The path below the events folder."""
    offset: int
    """In bytes."""
    length: int
    """In bytes, the newline included."""
    sha256: str


def summary_digest(
    group: str, last_turn: TurnId, *, first_turn: TurnId, extends: str | None, summarizer: str
) -> str:
    """Digest what a summary is made from: turns never change, so neither does what it is about."""
    made_from = [group, first_turn, last_turn, extends, summarizer]
    return hashlib.sha256(canonical(made_from)).hexdigest()


def conversation_digest(messages: Iterable[Message]) -> str:
    """Digest what identifies a conversation: roles, contents and tool calls in order.

    A client that repeats a conversation with other unknown fields, or `null` for a missing one,
    still has the same conversation.
    """
    digest = hashlib.sha256()
    for message in messages:
        calls = [(c.id, c.function.name, c.function.arguments) for c in message.tool_calls]
        parts = message.content if isinstance(message.content, tuple) else ()
        others = [(part.type, dict(part.extra)) for part in parts if part.text is None]
        digest.update(canonical([message.role, message.text, others, calls, message.tool_call_id]))
        digest.update(b"\n")
    return digest.hexdigest()
