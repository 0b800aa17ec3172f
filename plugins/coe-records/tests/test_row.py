from typing import Any

import msgspec
from attrs import evolve
from coe_records import table
from coe_records.row import Rows
from hypothesis import given, settings
from hypothesis import strategies as st

from coe_core.codec import structure, unstructure
from coe_core.message import Message
from coe_core.record import Interaction, Pointer
from coe_core.testing.strategies import interactions, messages

PLACE = Pointer(segment="2026-11-01/interactions.jsonl", offset=0, length=1, sha256="0" * 64)


def rows_of(body: Any) -> Rows:
    rows = Rows()
    rows.add("interaction", body, PLACE)
    return rows


@settings(max_examples=40, deadline=None)
@given(turn=interactions())
def test_rows_are_the_same_from_the_record_and_from_its_line(turn: Interaction) -> None:
    body = unstructure(turn)
    assert rows_of(body) == rows_of(msgspec.json.decode(msgspec.json.encode(body)))


@settings(max_examples=40, deadline=None)
@given(turn=interactions())
def test_rows_fit_their_tables(turn: Interaction) -> None:
    rows = rows_of(unstructure(turn))
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
    rows = rows_of(unstructure(turn))
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
    assert [row[5] for row in rows_of(unstructure(turn)).chat_messages] == [True, True, False]
