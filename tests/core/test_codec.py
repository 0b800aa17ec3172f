"""JSON in, attrs out, JSON again: nothing lost, nothing coerced, every fault named by its path."""

import re
from decimal import Decimal
from typing import Any, Literal

import pytest
from attrs import frozen
from hypothesis import given
from hypothesis import strategies as st

from coe_core import ChatRequest, Interaction, Message
from coe_core.codec import converter, decode, encode, shape_errors, structure, unstructure
from coe_core.message import Part
from coe_core.model import Price, Vectors
from coe_core.record import conversation_digest
from coe_core.testing.strategies import chat_requests, interactions, messages

BODY: dict[str, Any] = {"model": "a", "messages": [{"role": "user", "content": "hi"}]}


@given(chat_requests())
def test_a_request_survives_the_wire(request: ChatRequest) -> None:
    assert structure(decode(encode(request)), ChatRequest) == request


@given(interactions())
def test_a_record_survives_the_log(record: Interaction) -> None:
    assert structure(decode(encode(record)), Interaction) == record


@given(st.dictionaries(st.text(min_size=1), st.none() | st.booleans() | st.integers() | st.text()))
def test_fields_that_we_do_not_know_are_kept(unknown: dict[str, Any]) -> None:
    known = {"role", "content", "name", "tool_calls", "tool_call_id"}
    extra = {name: value for name, value in unknown.items() if name not in known}
    body = {"role": "user", "content": "hi"} | extra
    message = structure(body, Message)
    assert message.extra == extra
    assert unstructure(message) == body


@pytest.mark.parametrize(
    ("change", "path", "text"),
    [
        ({"messages": []}, "messages", "Length of 'messages' must be >= 1"),
        ({"messages": "hi"}, "messages", "expected a list, got a string"),
        ({"messages": ["hi"]}, "messages[0]", "expected an object, got a string"),
        (
            {"messages": [{"role": "wizard", "content": "hi"}]},
            "messages[0].role",
            "expected one of 'system', 'developer', 'user'",
        ),
        (
            {"messages": [{"role": "user", "content": 3}]},
            "messages[0].content",
            "expected a string or a list, got an integer",
        ),
        (
            {"messages": [{"role": "user", "content": [{"text": "hi"}]}]},
            "messages[0].content[0].type",
            "the field 'type' is missing",
        ),
        ({"temperature": "hot"}, "temperature", "expected a number, got a string"),
        ({"temperature": 3}, "temperature", "must be <= 2"),
        ({"n": True}, "n", "expected an integer, got true or false"),
        ({"stream": 1}, "stream", "expected true or false, got an integer"),
        ({"tools": [{"function": {"name": ""}}]}, "tools[0].function.name", "must be >= 1"),
        ({"model": None}, "model", "expected a string, got null"),
    ],
)
def test_a_fault_is_named_by_its_path(change: dict[str, Any], path: str, text: str) -> None:
    with pytest.raises(Exception) as raised:  # noqa: PT011 cattrs has its own tree
        structure(BODY | change, ChatRequest)
    [(where, what)] = shape_errors(raised.value)
    assert where == path
    assert text in what


def test_a_missing_field_is_named() -> None:
    with pytest.raises(Exception) as raised:  # noqa: PT011 cattrs has its own tree
        structure({"messages": BODY["messages"]}, ChatRequest)
    assert "the field 'model' is missing" in shape_errors(raised.value)[0][1]


def test_of_many_faults_in_a_list_the_first_is_named() -> None:
    with pytest.raises(Exception) as raised:  # noqa: PT011 cattrs has its own tree
        structure(BODY | {"messages": [*BODY["messages"], *[{"role": "x"}] * 9]}, ChatRequest)
    [(path, _)] = shape_errors(raised.value)
    assert path == "messages[1].role"


@given(st.decimals(allow_nan=False, allow_infinity=False, places=6, min_value=0, max_value=10**6))
def test_money_is_exact(amount: Decimal) -> None:
    price = Price(input=amount)
    assert structure(decode(encode(price)), Price) == price


@pytest.mark.parametrize("amount", ["NaN", "Infinity", "", "1,5", True, None, []])
def test_what_is_no_amount_is_refused(amount: Any) -> None:
    with pytest.raises(Exception, match="."):
        structure({"input": amount}, Price)


@given(st.lists(st.lists(st.floats(width=32, allow_nan=False), min_size=3, max_size=3)))
def test_vectors_are_packed_and_unpacked(rows: list[list[float]]) -> None:
    vectors = Vectors.of(rows)
    assert vectors.rows() == rows
    assert len(vectors) == len(rows)
    assert b"".join(vectors.row_bytes(n) for n in range(len(rows))) == vectors.data


@given(st.lists(messages(), max_size=4))
def test_a_conversation_is_told_by_what_was_said(said: list[Message]) -> None:
    digest = conversation_digest(said)
    again = [structure(decode(encode(message)), Message) for message in said]
    assert conversation_digest(again) == digest
    assert conversation_digest([*said, Message(role="user", content="and")]) != digest


def test_a_text_and_one_text_part_are_the_same_conversation() -> None:
    plain = Message(role="user", content="hi")
    parted = Message(role="user", content=(Part(type="text", text="hi"),))
    assert conversation_digest([plain]) == conversation_digest([parted])


@frozen(kw_only=True)
class Circle:
    type: Literal["circle"] = "circle"
    radius: int


@frozen(kw_only=True)
class Square:
    type: Literal["square"]
    side: int


@pytest.mark.parametrize(
    ("value", "shape"),
    [
        ({"type": "square", "side": 2}, Square(type="square", side=2)),
        ({"type": "circle", "radius": 2}, Circle(radius=2)),
        ({"radius": 2}, Circle(radius=2)),
        (None, None),
    ],
)
def test_classes_are_told_apart_by_their_type(value: Any, shape: Any) -> None:
    assert converter.structure(value, Circle | Square | None) == shape


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"type": "line"}, "expected one of the types 'circle', 'square', got the type 'line'"),
        ({"type": ["circle"], "radius": 2}, "got the type ['circle']"),
        ([], "expected an object, got a list"),
    ],
)
def test_another_type_is_refused(value: Any, text: str) -> None:
    with pytest.raises((TypeError, ValueError), match=re.escape(text)):
        converter.structure(value, Circle | Square | None)


def test_without_a_default_the_type_must_be_there() -> None:
    with pytest.raises(ValueError, match="got no type"):
        converter.structure({"side": 2}, Square | Circle)


@given(st.integers(), st.floats(allow_nan=False))
def test_an_integer_is_an_integer_however_it_is_written(number: int, real: float) -> None:
    assert structure(number, int) == number
    if real.is_integer():
        assert type(structure(real, int)) is int
        assert structure(real, int) == real
        assert converter.structure(real, int | None) == real
    else:
        with pytest.raises(TypeError, match="expected an integer, got a number"):
            structure(real, int)


def test_unknown_members_keep_their_order() -> None:
    members = {"role": "user", "content": "x"} | {f"member_{n}": n for n in range(20)}
    assert encode(structure(members, Message)) == encode(members)
