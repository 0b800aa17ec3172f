"""The rows that a line of the log comes to: the one place where tables are filled from.

They are made from the body's JSON, whether it was just written or is read back years later, so
that a rebuilt database equals the original row for row.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeAlias

import msgspec
from attrs import define, field

from coe_core.record import Pointer
from coe_records.body import (
    Attempt,
    Body,
    Feedback,
    Intent,
    Interaction,
    Job,
    Message,
    Repair,
    Settlement,
    Summary,
)

Row: TypeAlias = tuple[Any, ...]


@define
class Rows:
    """Rows by table, their values in the order of the table's columns."""

    interactions: list[Row] = field(factory=list)
    chat_messages: list[Row] = field(factory=list)
    attempts: list[Row] = field(factory=list)
    settled: list[Row] = field(factory=list)
    """Rows of `attempts` as well, which give way to what an interaction says of the attempt."""
    feedback: list[Row] = field(factory=list)
    conversation_summaries: list[Row] = field(factory=list)

    def add(self, body: Body, pointer: Pointer) -> None:
        """Add what a line comes to. What has no tables adds nothing."""
        place = (pointer.segment, pointer.offset, pointer.length, pointer.sha256)
        match body:
            case Interaction():
                self._add_interaction(body, place)
            case Settlement():
                self.settled.append(_settled(body.intent, place))
            case Repair():
                for restored in body.records():
                    self.add(restored, pointer)
            case Feedback():
                self.feedback.append(_feedback(body, place))
            case Summary():
                self.conversation_summaries.append(_summary(body, place))
            case Job():
                self._add_attempts(body, place)

    def _add_interaction(self, body: Interaction, place: Row) -> None:
        owner, group, exchange, answer = body.id, body.group, body.exchange, body.answer
        add, number = self.chat_messages.append, 0
        for part, messages in (("new", body.new_messages), ("exchange", exchange)):
            for message in messages:
                add((owner, number, group, part, 0, True, *_message(message), *place))
                number += 1
        length, pending = number, bool(exchange) and _is_pending(exchange, answer)
        for choice, message in enumerate(answer):
            # Of several the first belongs to the conversation, unless it is not the end.
            counts = choice == 0 and not pending
            add((owner, number, group, "answer", choice, counts, *_message(message), *place))
            number += 1
            length += counts
        self.interactions.append(_interaction(body, length, place))
        self._add_attempts(body, place)

    def _add_attempts(self, body: Interaction | Job, place: Row) -> None:
        for attempt in body.attempts:
            self.attempts.append(_attempt(attempt, body.id, body.group, place))


def _interaction(body: Interaction, length: int, place: Row) -> Row:
    outcome, route = body.outcome, body.route
    return (
        body.id,
        body.group,
        body.session,
        body.key_id,
        body.started_at,
        body.ended_at,
        body.requested_model,
        (route.model or route.agent) if route else None,
        route.router if route else None,
        outcome.status,
        outcome.finish_reason,
        outcome.failure,
        outcome.error_code,
        body.follows,
        body.parent_turn_id,
        body.root_id,
        body.depth,
        conversation_key(body.conversation) if body.conversation else None,
        length,
        *place,
    )


def conversation_key(digest: str) -> int:
    """Shorten a conversation's digest to what is indexed."""
    return int.from_bytes(bytes.fromhex(digest[:16]), signed=True)


def _is_pending(exchange: Iterable[Message], answer: Iterable[Message]) -> bool:
    """As `Interaction.pending` has it."""
    exchanged = {call["id"] for message in exchange for call in message.get("tool_calls", ())}
    return any(c["id"] in exchanged for message in answer for c in message.get("tool_calls", ()))


_PLAIN = {"role", "content"}


def _message(message: Message) -> Row:
    content = message.get("content")
    if isinstance(content, str) and message.keys() == _PLAIN and "\0" not in content:
        return message["role"], content, None  # All that it says is in these.
    text = content if isinstance(content, str) else _text(content)
    if text is not None:
        text = text.replace("\0", "\ufffd")
    return message["role"], text, msgspec.json.encode(message).decode()


def _text(parts: Any) -> str | None:
    if not parts:
        return None
    return "\n".join(part["text"] for part in parts if part.get("text") is not None)


def _attempt(attempt: Attempt, owner: str, group: str, place: Row) -> Row:
    usage = attempt.usage
    return (
        owner,
        attempt.id,
        group,
        attempt.purpose,
        attempt.model,
        attempt.provider,
        attempt.name,
        attempt.started_at,
        attempt.duration_s,
        attempt.first_token_s,
        usage.input_tokens,
        usage.output_tokens,
        usage.cached_input_tokens,
        usage.reasoning_tokens,
        usage.estimated,
        attempt.cost_usd,
        attempt.price_version,
        attempt.overspent_usd,
        attempt.outcome,
        attempt.error_code,
        attempt.continues,
        *place,
    )


def _settled(intent: Intent, place: Row) -> Row:
    """Book an attempt of unknown end at what was reserved for it, the most it can have cost."""
    return (
        intent.owner_id,
        intent.attempt_id,
        intent.group,
        intent.purpose,
        intent.model,
        None,
        None,
        intent.at,
        *(None, None),
        *(0, 0, 0, 0),
        True,
        intent.reserved_usd,
        None,
        "0",
        "failed",
        "process_died",
        None,
        *place,
    )


def _summary(body: Summary, place: Row) -> Row:
    return (
        body.id,
        body.group,
        body.session,
        body.first_turn,
        body.last_turn,
        body.messages,
        body.extends,
        body.summarizer,
        body.text or "",
        body.job_id,
        body.at,
        *place,
    )


def _feedback(body: Feedback, place: Row) -> Row:
    return (
        body.id,
        body.turn_id,
        body.group,
        body.rating,
        body.label,
        body.route,
        body.text,
        body.actor,
        body.at,
        *place,
    )
