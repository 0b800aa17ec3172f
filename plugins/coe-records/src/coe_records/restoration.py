"""What the database knows of a record that the log has lost, in the shape of the record.

The rows of what is restored equal those it was restored from, but for their pointers. What the
tables do not hold is lost: parameters, passages, tool runs, verdicts, the reason of the route.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from coe_core.codec import decode
from coe_core.record import Pointer
from coe_records.database import Connection

_AT = " AND segment = ? AND offset_bytes = ? AND length_bytes = ? AND sha256 = ?"
_TURN = "SELECT * FROM interactions WHERE id = ?" + _AT  # noqa: S608
_FEEDBACK = "SELECT * FROM feedback WHERE id = ?" + _AT  # noqa: S608
_SUMMARY = "SELECT * FROM conversation_summaries WHERE id = ?" + _AT  # noqa: S608
_TRIED = "SELECT * FROM attempts WHERE owner_id = ?" + _AT  # noqa: S608

DIED = "process_died"
"""The error code of an attempt that a settlement has booked."""


def bodies_at(connection: Connection, owner: str, lost: Pointer) -> Iterator[tuple[str, Any]]:
    """Yield the kind and the body of what was at a pointer."""
    place = (owner, lost.segment, lost.offset, lost.length, lost.sha256)
    turns = _select(connection, _TURN, *place)
    for row in turns:
        yield "interaction", _interaction(connection, row)
    for row in _select(connection, _FEEDBACK, *place):
        yield "feedback", _feedback(row)
    for row in _select(connection, _SUMMARY, *place):
        yield "summary", _summary(row)
    tried = [] if turns else _select(connection, _TRIED, *place)
    for row in tried:
        if row["error_code"] == DIED:
            yield "settlement", {"intent": _intent(row)}
    if paid := [row for row in tried if row["error_code"] != DIED]:
        yield "job", _job(paid)


def _select(connection: Connection, query: str, *values: Any) -> list[dict[str, Any]]:
    cursor = connection.execute(query, values)
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor]


def _interaction(connection: Connection, row: Mapping[str, Any]) -> dict[str, Any]:
    said = "SELECT * FROM chat_messages WHERE turn_id = ? ORDER BY position"
    tried = "SELECT * FROM attempts WHERE owner_id = ? ORDER BY started_at, id"
    messages = _select(connection, said, row["id"])
    key = row["conversation_key"]
    route = {"model": row["target"], "router": row["router"], "reason": "restored"}
    body = {
        "id": row["id"],
        "group": row["group_name"],
        "session": row["session_id"],
        "key_id": row["key_id"],
        "role": "member",
        "started_at": row["started_at"],
        "ended_at": row["ended_at"],
        "requested_model": row["requested_model"],
        "request_sha256": "",
        "follows": row["follows"],
        "parent_turn_id": row["parent_turn_id"],
        "root_id": row["root_id"],
        "depth": row["depth"],
        "new_messages": _part(messages, "new"),
        "route": _present(route) if row["target"] else None,
        "attempts": [_attempt(attempt) for attempt in _select(connection, tried, row["id"])],
        "exchange": _part(messages, "exchange"),
        "answer": _part(messages, "answer"),
        "outcome": _present(
            {n: row[n] for n in ("status", "finish_reason", "failure", "error_code")}
        ),
        # As much of the digest as there is.
        "conversation": None if key is None else key.to_bytes(8, signed=True).hex(),
    }
    return _present(body)


def _present(members: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value is not None}


def _part(messages: list[dict[str, Any]], part: str) -> list[Any]:
    return [_message(message) for message in messages if message["part"] == part]


def _message(row: Mapping[str, Any]) -> Any:
    if row["message"] is not None:
        return decode(row["message"])
    return {"role": row["role"], "content": row["content"]}


_USAGE = ("input_tokens", "output_tokens", "cached_input_tokens", "reasoning_tokens")


def _attempt(row: Mapping[str, Any]) -> dict[str, Any]:
    left = {"owner_id", "group_name", "segment", "offset_bytes", "length_bytes", "sha256"}
    own = {n: v for n, v in row.items() if n not in {*left, *_USAGE, "estimated"}}
    usage = {name: row[name] for name in _USAGE}
    return _present(own) | {"usage": {**usage, "estimated": bool(row["estimated"])}}


def _feedback(row: Mapping[str, Any]) -> dict[str, Any]:
    kept = ("id", "turn_id", "rating", "label", "route", "actor", "at")
    own = {name: row[name] for name in kept}
    return _present({**own, "group": row["group_name"], "text": row["content"]})


def _summary(row: Mapping[str, Any]) -> dict[str, Any]:
    kept = ("id", "first_turn", "last_turn", "messages", "extends", "summarizer", "job_id", "at")
    named = {"group": "group_name", "session": "session_id", "text": "content"}
    own = {name: row[name] for name in kept}
    return _present(own | {name: row[column] for name, column in named.items()})


def _job(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Put a job's run together from its calls: which job it was, no table tells."""
    attempts = sorted(rows, key=lambda row: (row["started_at"], row["id"]))
    went_well = all(row["outcome"] == "ok" for row in attempts)
    return {
        "id": attempts[0]["owner_id"],
        "job": "restored",
        "group": attempts[0]["group_name"],
        "started_at": attempts[0]["started_at"],
        "ended_at": attempts[-1]["started_at"],
        "attempts": [_attempt(row) for row in attempts],
        "outcome": "ok" if went_well else "failed",
    }


def _intent(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "attempt_id": row["id"],
        "owner_id": row["owner_id"],
        "group": row["group_name"],
        "model": row["model"],
        "purpose": row["purpose"],
        "reserved_usd": row["cost_usd"],
        "at": row["started_at"],
    }
