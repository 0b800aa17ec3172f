"""What the strategies promise: any text, schemas with fitting values, fast registration."""

import subprocess
import sys
import unicodedata
from collections.abc import Callable

import jsonschema_rs
import pytest
from hypothesis import HealthCheck, find, given, settings
from hypothesis import strategies as st

from coe_core.codec import decode, encode, structure, unstructure
from coe_core.message import Message
from coe_core.record import Feedback, Interaction, StateChange
from coe_core.request import ChatRequest
from coe_core.testing import strategies
from coe_core.testing.strategies.schema import Schema

unhurried = settings(deadline=None, max_examples=25, suppress_health_check=list(HealthCheck))


@pytest.mark.parametrize("kind", strategies.BY_TYPE, ids=lambda kind: kind.__name__)
def test_types_make_themselves(kind: type) -> None:
    @settings(unhurried, max_examples=5)
    @given(st.from_type(kind))
    def made(value: object) -> None:
        assert isinstance(value, kind)

    made()


@pytest.mark.parametrize("kind", [Message, ChatRequest, Interaction, StateChange, Feedback])
def test_what_is_made_survives_the_wire(kind: type) -> None:
    @unhurried
    @given(st.from_type(kind))
    def survives(value: object) -> None:
        assert structure(decode(encode(unstructure(value))), kind) == value

    survives()


@pytest.mark.parametrize(
    ("script", "holds"),
    [
        ("Korean", lambda text: any("가" <= letter <= "힣" for letter in text)),
        ("decomposed", lambda text: unicodedata.normalize("NFC", text) != text),
        ("right to left", lambda text: any(unicodedata.bidirectional(c) == "R" for c in text)),
        ("emoji of several code points", lambda text: "\u200d" in text),
        ("nothing", lambda text: text == ""),
        ("a null byte", lambda text: "\x00" in text),
    ],
)
def test_texts_hold_every_script(script: str, holds: Callable[[str], bool]) -> None:
    within = settings(unhurried, max_examples=2000, database=None)
    assert holds(find(strategies.texts(), holds, settings=within)), script


@unhurried
@given(strategies.conversations())
def test_conversations_are_in_order(messages: tuple[Message, ...]) -> None:
    asked: set[str] = set()
    for message in messages:
        assert (message.role == "tool") == (message.tool_call_id in asked)
        asked = {call.id for call in message.tool_calls} or asked
    assert messages[-1].role in ("user", "tool")


@settings(unhurried, max_examples=60)
@given(strategies.schemas_with_values())
def test_schemas_come_with_values(pair: tuple[Schema, object]) -> None:
    schema, value = pair
    assert jsonschema_rs.Draft202012Validator(dict(schema)).is_valid(value)


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "required": ["a"], "additionalProperties": {"type": "integer"}},
        {"type": "array", "prefixItems": [{"const": 1}, {"type": "null"}], "items": False},
        {"type": "array", "items": {"enum": [1, 2]}, "uniqueItems": True, "minItems": 2},
        {"type": "integer", "multipleOf": 7, "minimum": 3, "maximum": 40},
        {"type": "number", "multipleOf": 0.5, "minimum": 0, "maximum": 2},
        {"allOf": [{"type": "string", "minLength": 3}, {"maxLength": 4}]},
        {"type": "object", "allOf": [{"required": ["a"]}, {"required": ["b"]}]},
        {"oneOf": [{"type": "string"}, {"type": "boolean"}]},
        {"type": ["string", "null"], "maxLength": 2},
        {
            "$ref": "#/$defs/node",
            "$defs": {
                "node": {"anyOf": [{"const": 0}, {"$ref": "#/$defs/list"}]},
                "list": {"type": "array", "items": {"$ref": "#/$defs/node"}, "maxItems": 2},
            },
        },
        *({"type": "string", "format": f} for f in ("date-time", "date", "email", "uri", "uuid")),
        {"type": "string", "pattern": "^[a-z]{2}$"},
        {
            "type": "object",
            "properties": {"a/b": {"$ref": "#/properties/c~0d"}, "c~d": {"const": 1}},
        },
        True,
    ],
    ids=str,
)
def test_values_fit_a_schema(schema: Schema) -> None:
    whole = {"properties": {"it": schema}} if isinstance(schema, bool) else schema
    checked = jsonschema_rs.Draft202012Validator(whole, validate_formats=True)

    @unhurried
    @given(strategies.values_of(whole))
    def fits(value: object) -> None:
        assert checked.is_valid(value)

    fits()


def test_nothing_fits_the_schema_false() -> None:
    whole = {"type": "array", "items": False}

    @unhurried
    @given(strategies.values_of(whole))
    def fits(value: object) -> None:
        assert value == []

    fits()


def test_registration_brings_in_nothing_heavy() -> None:
    heavy = "{'aiohttp', 'litellm', 'numpy', 'pytest', 'jsonschema_rs', 'uvicorn', 'sqlalchemy'}"
    code = f"import sys, hypothesis; print(*(set(sys.modules) & {heavy}))"
    seen = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert seen.stdout.split() == []
