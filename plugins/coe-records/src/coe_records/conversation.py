"""Conversations as the tables have them: a turn, and those that it follows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from attrs import frozen
from sqlalchemy import (
    CTE,
    Connection,
    Integer,
    Select,
    String,
    and_,
    bindparam,
    case,
    exists,
    false,
    literal,
    not_,
    select,
)

from coe_core.codec import decode, structure
from coe_core.identity import SessionId, TurnId
from coe_core.message import Message
from coe_core.record import conversation_digest
from coe_core.service import History
from coe_records.table import chat_messages, conversation_summaries, interactions

WHOLE = (1 << 31) - 1
"""More messages than any conversation has."""

REACH = 2
"""How many windows back a summary is sought: one may come late, or fail."""


def verbatim(window: int) -> int:
    """Tell how many messages of a window are told word by word even if a summary covers them."""
    return window // 8


@frozen(kw_only=True)
class Uncovered:
    """What of a conversation no summary covers, the oldest turn first."""

    session: SessionId
    turns: tuple[tuple[TurnId, int], ...]
    """Each with its number of messages."""
    extends: str | None = None
    """The digest of the summary of what was before."""
    summary: str | None = None


def whole(group: str, turn_id: str) -> Mapping[str, Any]:
    """Ask `MESSAGES` for all of a conversation through a turn."""
    return _asked(group, turn_id, reach=WHOLE, verbatim=WHOLE, limit=WHOLE)


def history(connection: Connection, group: str, turn_id: str, limit: int) -> History:
    """Read the newest messages through a turn, and the summary of what was before them."""
    asked = _asked(group, turn_id, reach=REACH * limit, verbatim=verbatim(limit), limit=limit)
    newest_first = [message(*row) for row in connection.execute(MESSAGES, asked)]
    found = None
    if len(newest_first) >= verbatim(limit):  # Shorter conversations have none.
        found = connection.execute(_SUMMARIES, asked).first()
    return History(messages=tuple(reversed(newest_first)), summary=found.content if found else None)


def uncovered(connection: Connection, group: str, turn_id: str) -> Uncovered | None:
    """Read what of the conversation through a turn no summary covers; None without such a turn."""
    asked = _asked(group, turn_id, reach=WHOLE, verbatim=0)
    turns = connection.execute(_UNCOVERED, asked).all()
    if not turns:
        return None
    found = connection.execute(_SUMMARIES, asked).first()
    return Uncovered(
        session=turns[-1].session_id,
        turns=tuple((turn.id, turn.messages) for turn in turns),
        extends=found.id if found else None,
        summary=found.content if found else None,
    )


def recorded(
    connection: Connection, group: str, turn_id: str, session: str, messages: Sequence[Message]
) -> int:
    """Count the turns of a conversation of the group, if just these messages, through that turn of
    that session, are one; else there are 0.
    """
    if "\0" in turn_id:
        return 0  # Postgres cannot even be asked for it.
    asked = whole(group, turn_id)
    turns = connection.execute(_UNCOVERED, asked).all()
    if not turns or turns[-1].session_id != session:
        return 0
    newest_first = [message(*row) for row in connection.execute(MESSAGES, asked)]
    is_same = conversation_digest(reversed(newest_first)) == conversation_digest(messages)
    return len(turns) if is_same else 0


def said(connection: Connection, group: str, turn_ids: Sequence[TurnId]) -> list[Message]:
    """Read the messages of some turns of one conversation, the turns in the order given."""
    columns = (chat_messages.c.role, chat_messages.c.content, chat_messages.c.message)
    query = (
        select(chat_messages.c.turn_id, *columns)
        .where(
            chat_messages.c.turn_id.in_(turn_ids),
            chat_messages.c.group_name == group,
            chat_messages.c.in_conversation,
        )
        .order_by(chat_messages.c.turn_id, chat_messages.c.position)
    )
    by_turn: dict[str, list[Message]] = {}
    for turn_id, *row in connection.execute(query):
        by_turn.setdefault(turn_id, []).append(message(*row))
    return [each for turn_id in turn_ids for each in by_turn.get(turn_id, ())]


def message(role: Any, content: str | None, whole: str | None) -> Message:
    """Make a message of its row."""
    if whole is None:
        return Message(role=role, content=content)
    return structure(decode(whole), Message)


def _asked(group: str, turn_id: str, **numbers: int) -> Mapping[str, Any]:
    return {"group": group, "turn_id": turn_id, **numbers}


def _line() -> CTE:
    """Follow a conversation back from a turn, until there are enough messages, or to a turn that a
    summary covers, behind those that are told in any case.
    """
    turns, summaries = interactions, conversation_summaries
    group = bindparam("group", type_=String)
    first = select(
        turns.c.id,
        turns.c.follows,
        turns.c.messages.label("total"),
        literal(0).label("depth"),
        false().label("is_covered"),
    ).where(turns.c.id == bindparam("turn_id", type_=String), turns.c.group_name == group)
    line = first.cte("line", recursive=True)
    has_summary = exists().where(
        summaries.c.last_turn == turns.c.id, summaries.c.group_name == turns.c.group_name
    )
    # A turn counts for one message at least, so that even a circle of empty ones has an end.
    length = case((turns.c.messages > 1, turns.c.messages), else_=1)
    return line.union_all(
        select(
            turns.c.id,
            turns.c.follows,
            line.c.total + length,
            line.c.depth + 1,
            and_(line.c.total >= bindparam("verbatim", type_=Integer), has_summary),
        ).where(
            turns.c.id == line.c.follows,
            turns.c.group_name == group,
            line.c.total < bindparam("reach", type_=Integer),
            not_(line.c.is_covered),
        )
    )


def _messages() -> Select[Any]:
    line = _line()
    return (
        select(chat_messages.c.role, chat_messages.c.content, chat_messages.c.message)
        .where(
            chat_messages.c.turn_id == line.c.id,
            chat_messages.c.in_conversation,
            not_(line.c.is_covered),
        )
        .order_by(line.c.depth, chat_messages.c.position.desc())
        .limit(bindparam("limit", type_=Integer))
    )


def _uncovered() -> Select[Any]:
    line = _line()
    return (
        select(line.c.id, interactions.c.messages, interactions.c.session_id)
        .join(interactions, interactions.c.id == line.c.id)
        .where(not_(line.c.is_covered))
        .order_by(line.c.depth.desc())
    )


def _summaries() -> Select[Any]:
    line, summaries = _line(), conversation_summaries
    return (
        select(summaries.c.id, summaries.c.content)
        .where(summaries.c.last_turn == line.c.id, line.c.is_covered)
        .order_by(summaries.c.at.desc(), summaries.c.id.desc())
        .limit(1)
    )


# Made once, since that takes longer than to run them.
MESSAGES = _messages()
"""Selects the messages of a turn and of those it follows, newest first, until there are enough:
their roles, contents, and wholes where there is more to them.
"""
_UNCOVERED, _SUMMARIES = _uncovered(), _summaries()
