"""The rows that a line of the log comes to: the one place where tables are filled from.

They are made from the body's JSON, whether it was just written or is read back years later, so
that a rebuilt database equals the original row for row.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import msgspec
from attrs import define, field

from coe_core.record import Pointer

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

    def add(self, kind: str, body: Mapping[str, Any], pointer: Pointer) -> None:
        """Add what a line comes to. A kind that has no tables adds nothing."""
        place = (pointer.segment, pointer.offset, pointer.length, pointer.sha256)
        if kind == "interaction":
            self._add_interaction(body, place)
        elif kind == "settlement":
            self.settled.append(_settled(body["intent"], place))
        elif kind == "repair":
            for restored_kind, restored in body.get("restored", {}).items():
                self.add(restored_kind, restored, pointer)
        elif kind == "feedback":
            self.feedback.append(_feedback(body, place))
        elif kind == "summary":
            self.conversation_summaries.append(_summary(body, place))
        elif kind == "job":
            owner, group = body["id"], body["group"]
            self.attempts += [_attempt(a, owner, group, place) for a in body.get("attempts", ())]

    def _add_interaction(self, body: Mapping[str, Any], place: Row) -> None:
        owner, group = body["id"], body["group"]
        exchange, answer = body.get("exchange", ()), body.get("answer", ())
        said = [(message, "new", 0, True) for message in body["new_messages"]]
        said += [(message, "exchange", 0, True) for message in exchange]
        pending = bool(exchange) and _is_pending(exchange, answer)
        length = len(said) + bool(answer and not pending)
        # Of several choices the first belongs to the conversation, unless it is not the end.
        said += [(m, "answer", n, n == 0 and not pending) for n, m in enumerate(answer)]
        self.interactions.append(_interaction(body, length, place))
        self.chat_messages += [
            (owner, n, group, part, choice, counts, *_message(message), *place)
            for n, (message, part, choice, counts) in enumerate(said)
        ]
        self.attempts += [_attempt(a, owner, group, place) for a in body.get("attempts", ())]


def readable(body: Any, text: bytes) -> Any:
    """Return what rows are made of: a body, but for NULs, which no text of Postgres can hold, in
    its names and labels. `_message` sees to those in messages. The text is the body's JSON.
    """
    # A single byte is looked for ten times faster than six.
    return _without_nul(body) if b"\\" in text and rb"\u0000" in text else body


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


def group_of(kind: str, body: Mapping[str, Any]) -> str | None:
    """Tell whose a line is, None if it is no group's."""
    if kind == "repair":
        return next((group_of(*restored) for restored in body.get("restored", {}).items()), None)
    found: str | None = (body["intent"] if kind == "settlement" else body).get("group")
    return found


ONCE = ("interaction", "feedback", "summary")
"""The kinds of which a record counts once, however often the log has it."""


def once_of(kind: str, body: Mapping[str, Any]) -> str | None:
    """Tell the id under which a line counts once, None if it counts as often as it stands."""
    restored = body.get("restored", {}) if kind == "repair" else {kind: body}
    return next((restored[each]["id"] for each in ONCE if each in restored), None)


def _interaction(body: Mapping[str, Any], length: int, place: Row) -> Row:
    get, outcome = body.get, body["outcome"]
    route = get("route") or {}
    digest = get("conversation")
    return (
        body["id"],
        body["group"],
        body["session"],
        get("key_id"),
        body["started_at"],
        body["ended_at"],
        body["requested_model"],
        route.get("model") or route.get("agent"),
        route.get("router"),
        outcome["status"],
        outcome.get("finish_reason"),
        outcome.get("failure"),
        outcome.get("error_code"),
        get("follows"),
        get("parent_turn_id"),
        body["root_id"],
        body["depth"],
        conversation_key(digest) if digest else None,
        length,
        *place,
    )


def conversation_key(digest: str) -> int:
    """Shorten a conversation's digest to what is indexed."""
    return int.from_bytes(bytes.fromhex(digest[:16]), signed=True)


def _is_pending(exchange: Any, answer: Any) -> bool:
    """As `Interaction.pending` has it."""
    exchanged = {call["id"] for message in exchange for call in message.get("tool_calls", ())}
    return any(c["id"] in exchanged for message in answer for c in message.get("tool_calls", ()))


_PLAIN = {"role", "content"}


def _message(message: Mapping[str, Any]) -> Row:
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


def _attempt(attempt: Mapping[str, Any], owner: str, group: str, place: Row) -> Row:
    get, usage = attempt.get, attempt["usage"]
    return (
        owner,
        attempt["id"],
        group,
        attempt["purpose"],
        attempt["model"],
        attempt["provider"],
        attempt["name"],
        attempt["started_at"],
        attempt["duration_s"],
        get("first_token_s"),
        usage["input_tokens"],
        usage["output_tokens"],
        usage["cached_input_tokens"],
        usage["reasoning_tokens"],
        usage["estimated"],
        get("cost_usd"),
        get("price_version"),
        attempt["overspent_usd"],
        attempt["outcome"],
        get("error_code"),
        get("continues"),
        *place,
    )


def _settled(intent: Mapping[str, Any], place: Row) -> Row:
    """Book an attempt of unknown end at what was reserved for it, the most it can have cost."""
    return (
        intent["owner_id"],
        intent["attempt_id"],
        intent["group"],
        intent["purpose"],
        intent["model"],
        None,
        None,
        intent["at"],
        *(None, None),
        *(0, 0, 0, 0),
        True,
        intent["reserved_usd"],
        None,
        "0",
        "failed",
        "process_died",
        None,
        *place,
    )


def _summary(body: Mapping[str, Any], place: Row) -> Row:
    get = body.get
    return (
        body["id"],
        body["group"],
        body["session"],
        body["first_turn"],
        body["last_turn"],
        body["messages"],
        get("extends"),
        body["summarizer"],
        get("text") or "",
        get("job_id"),
        body["at"],
        *place,
    )


def _feedback(body: Mapping[str, Any], place: Row) -> Row:
    get = body.get
    return (
        body["id"],
        body["turn_id"],
        body["group"],
        get("rating"),
        get("label"),
        get("route"),
        get("text"),
        body["actor"],
        body["at"],
        *place,
    )
