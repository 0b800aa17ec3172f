"""Which conversation a request belongs to, and what is new in it."""

from __future__ import annotations

from coe_core.application import Application
from coe_core.error import NotFound
from coe_core.identity import SessionId, TurnId, uuid7
from coe_core.message import Message, lasting
from coe_core.record import conversation_digest
from coe_core.service import RecordReader, SessionStore
from coe_core.turn import Session


async def recall(
    application: Application,
    group: str,
    messages: tuple[Message, ...],
    *,
    session_id: SessionId | None,
    follows: TurnId | None,
) -> Session:
    """Find a request's place in its session.

    A client either repeats the conversation, which then goes upstream as it is, or sends its new
    messages alone, and gets the stored history added. It repeats it when there is a message from
    the assistant in it. A repetition that is not in the record, because the client edited it or
    began elsewhere, is a fork: it follows no turn.

    Raises `NotFound` when `follows` names a turn that the group does not have.
    """
    if follows is not None:
        return await _following(application, group, messages, follows)
    identity = session_id or SessionId(uuid7())
    last_answer = _last_answer(messages)
    if last_answer is not None:
        return await _repeated(application, group, messages, identity, last_answer)
    store = application.need(SessionStore)
    head = await store.head(group, identity) if session_id is not None else None
    if head is None:
        return Session(id=identity, new_messages=messages)
    return await _continued(application, group, messages, identity, head)


async def _following(
    application: Application, group: str, messages: tuple[Message, ...], follows: TurnId
) -> Session:
    reader = application.need(RecordReader)
    if (turn := await reader.interaction(group, follows)) is None:
        raise NotFound(f"there is no turn {follows!r:.200}", param="previous_response_id")
    return await _continued(application, group, messages, turn.session, follows)


async def _continued(
    application: Application,
    group: str,
    messages: tuple[Message, ...],
    session_id: SessionId,
    follows: TurnId,
) -> Session:
    store = application.need(SessionStore)
    limit = application.settings.coe.history_messages
    history = await store.history(group, follows, limit=limit)
    return Session(
        id=session_id,
        follows=follows,
        history=_from_a_user(lasting(history.messages)),
        new_messages=messages,
        summary=history.summary,
    )


async def _repeated(
    application: Application,
    group: str,
    messages: tuple[Message, ...],
    session_id: SessionId,
    last_answer: int,
) -> Session:
    store = application.need(SessionStore)
    repeated, new = messages[: last_answer + 1], messages[last_answer + 1 :]
    turn = await store.find(group, conversation_digest(repeated))
    if turn is None or (turn.session != session_id and not turn.pending):
        return Session(id=session_id, new_messages=messages, carried=True)
    if turn.pending:
        # The client never saw the calls of our own tools; the model must.
        repeated = (*repeated[:-1], *turn.exchange)
    return Session(
        id=turn.session, follows=turn.id, history=repeated, new_messages=new, carried=True
    )


def _last_answer(messages: tuple[Message, ...]) -> int | None:
    for index in range(len(messages) - 1, -1, -1):
        if messages[index].role == "assistant":
            return index
    return None


def _from_a_user(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    """Drop what a cut left at the beginning: answers and tool results without their question."""
    for index, message in enumerate(messages):
        if message.role in ("user", "system", "developer"):
            return messages[index:]
    return ()
