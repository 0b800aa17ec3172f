"""A recorded turn, told again as the events that it was."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from coe_core.admission import Ask
from coe_core.application import Application
from coe_core.budget import BudgetBook
from coe_core.event import Admitted, AttemptStarted, Delta, Event, TurnEnded
from coe_core.ledger import Ledger, answer_usage
from coe_core.message import Message
from coe_core.model import Chunk, ToolCallDelta
from coe_core.record import Interaction
from coe_core.turn import Session, Turn


def replay(
    application: Application, ask: Ask, record: Interaction, finish_reasons: Sequence[str] = ()
) -> Iterator[Event]:
    """Tell a turn that ended well again. `finish_reasons` are those of all choices, if known."""
    yield Admitted(turn=_turn(application, ask, record))
    if chats := [attempt for attempt in record.attempts if attempt.purpose == "chat"]:
        yield AttemptStarted(id=chats[-1].id, model=answered_by(record))
    yield from deltas(record)
    yield ended(record, finish_reasons)


def deltas(record: Interaction) -> Iterator[Delta]:
    """Give each choice of the answer in one piece."""
    for index, message in enumerate(record.answer):
        yield Delta(chunk=_chunk(index, message))


def ended(record: Interaction, finish_reasons: Sequence[str] = ()) -> TurnEnded:
    """Say again how the turn ended."""
    reasons = finish_reasons or [_finish_reason(record, choice) for choice in record.answer]
    return TurnEnded(
        record=record,
        finish_reasons=tuple(reasons) or ("stop",),
        usage=answer_usage(record.attempts),
        model=answered_by(record),
    )


def answered_by(record: Interaction) -> str:
    """Name the agent, or the model of the last attempt that went well."""
    if record.route is not None and record.route.agent is not None:
        return record.route.agent
    models = [a.model for a in record.attempts if a.purpose == "chat" and a.outcome == "ok"]
    return models[-1] if models else record.requested_model


def _finish_reason(record: Interaction, choice: Message) -> str:
    """Read the first choice's; of the others the record tells only whether they call tools."""
    if choice is record.answer[0]:
        return record.outcome.finish_reason or "stop"
    return "tool_calls" if choice.tool_calls else "stop"


def _chunk(index: int, message: Message) -> Chunk:
    calls = (
        ToolCallDelta(
            index=place,
            id=call.id,
            name=call.function.name,
            arguments=call.function.arguments,
            extra=call.extra,
        )
        for place, call in enumerate(message.tool_calls)
    )
    return Chunk(
        index=index,
        content=message.text,
        tool_calls=tuple(calls),
        delta_extra=message.extra,
    )


def _turn(application: Application, ask: Ask, record: Interaction) -> Turn:
    group = application.group(record.group)
    return Turn(
        id=record.id,
        request=ask.request,
        principal=ask.principal,
        session=Session(id=record.session, follows=record.follows),
        started_at=record.started_at,
        deadline_s=0.0,
        headers=ask.headers,
        ledger=Ledger(record.id, list(record.attempts)),
        budget=application.need(BudgetBook).budget(record.group, group.budget_usd_month),
        application=application,
        root_id=record.root_id,
    )
