from typing import Any

import attrs
import msgspec
import pytest
from attrs import evolve
from coe_records import body, table, writer
from coe_records.body import body_of
from coe_records.row import Rows
from hypothesis import given, settings
from hypothesis import strategies as st

from coe_core import ledger, model, record, turn
from coe_core.codec import encode, structure
from coe_core.message import Message
from coe_core.record import Interaction, Pointer
from coe_core.testing.strategies import interactions, messages

PLACE = Pointer(segment="2026-11-01/interactions.jsonl", offset=0, length=1, sha256="0" * 64)


def rows_of(turn: Interaction) -> Rows:
    rows = Rows()
    rows.add(body_of("interaction", encode(turn)), PLACE)
    return rows


@pytest.mark.parametrize(
    ("read", "written"),
    [
        (body.Interaction, record.Interaction),
        (body.Feedback, record.Feedback),
        (body.Summary, record.Summary),
        (body.Job, record.JobRun),
        (body.Settlement, record.Settlement),
        (body.Repair, writer.Repair),
        (body.Attempt, ledger.Attempt),
        (body.Intent, ledger.Intent),
        (body.Usage, model.Usage),
        (body.Route, turn.Route),
        (body.Outcome, turn.Outcome),
    ],
)
def test_what_is_read_of_a_body_is_written_in_it(read: Any, written: Any) -> None:
    """A field that nothing writes would be empty in every row, and nobody would see it."""
    names = {each.name for each in msgspec.structs.fields(read)}
    assert names <= attrs.fields_dict(written).keys()


@settings(max_examples=40, deadline=None)
@given(turn=interactions())
def test_rows_fit_their_tables(turn: Interaction) -> None:
    rows = rows_of(turn)
    for name in ("interactions", "chat_messages", "attempts"):
        columns = table.metadata.tables[name].columns
        for row in getattr(rows, name):
            assert len(row) == len(columns)
            for value, column in zip(row, columns, strict=True):
                assert value is not None or column.nullable, f"{name}.{column.name}"


@settings(max_examples=40, deadline=None)
@given(turn=interactions(), answers=st.lists(messages(), max_size=3))
def test_conversation_is_the_record_s_own(turn: Interaction, answers: list[Message]) -> None:
    """As `Interaction.messages` has it: of the choices the first, and none of a pending turn."""
    turn = evolve(turn, answer=tuple(answers))
    rows = rows_of(turn)
    columns = list(table.chat_messages.columns.keys())
    said = [dict(zip(columns, row, strict=True)) for row in rows.chat_messages]
    told = tuple(
        structure(msgspec.json.decode(m["message"]), Message)
        if m["message"]
        else Message(role=m["role"], content=m["content"])
        for m in said
        if m["in_conversation"]
    )
    assert told == turn.messages
    (interaction,) = rows.interactions
    assert interaction[list(table.interactions.columns.keys()).index("messages")] == len(told)


def test_pending_turn_leaves_its_answer_out(make_turn: Any) -> None:
    call = {"id": "c1", "function": {"name": "add", "arguments": "{}"}, "type": "function"}
    calls = structure({"role": "assistant", "tool_calls": [call]}, Message)
    turn = make_turn(exchange=(calls,), answer=(calls,))
    assert turn.pending
    assert [row[5] for row in rows_of(turn).chat_messages] == [True, True, False]
