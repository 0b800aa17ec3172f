"""Grammars that hold a model to a JSON Schema."""

from __future__ import annotations

from typing import Any

import pytest
from coe_models_local.grammar import Bounds, _closed, grammar

from coe_core.error import InvalidField


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        ({"type": "objec"}, "objec"),
        ({"$ref": "#/nope"}, "nope"),
        ({"enum": []}, "Unsatisfiable"),
        ({"type": "string", "minLength": 5, "maxLength": 3}, "minLength"),
        ({"type": "string", "pattern": "("}, "regex"),
        ({"$ref": "http://127.0.0.1:9/schema"}, "127.0.0.1"),
    ],
)
def test_what_does_not_compile_is_refused(schema: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidField, match=reason) as caught:
        grammar(schema, param="response_format")
    assert caught.value.param == "response_format"
    assert "\n" not in caught.value.message


def test_a_schema_without_end_is_refused() -> None:
    schema: dict[str, Any] = {"type": "integer"}
    for _ in range(400):
        schema = {"type": "array", "items": schema}
    with pytest.raises(InvalidField, match="recursion"):
        grammar(schema, param="tools")


def test_only_the_strict_mind_a_keyword_that_cannot_be_held_to() -> None:
    schema = {"type": "array", "items": {"type": "integer"}, "uniqueItems": True}
    assert grammar(schema, param="tools")
    with pytest.raises(InvalidField, match="uniqueItems"):
        grammar(schema, param="tools", strict=True)


INNER = {"properties": {"b": {"type": "string"}}}


@pytest.mark.parametrize(
    ("schema", "closed"),
    [
        ({"properties": {"a": {}}}, True),
        ({"properties": {"a": {}}, "additionalProperties": {"type": "string"}}, False),
        ({"properties": {"a": {}}, "anyOf": [INNER]}, False),
        ({"type": "object"}, False),
    ],
)
def test_an_object_is_closed_where_nothing_says_that_it_is_open(
    schema: dict[str, Any], closed: bool
) -> None:
    assert (_closed(schema).get("additionalProperties") is False) == closed


def test_objects_within_are_closed_too_but_never_the_parts_of_an_all_of() -> None:
    within = _closed({"properties": {"properties": INNER}, "$defs": {"d": INNER}})
    assert within["properties"]["properties"]["additionalProperties"] is False
    assert within["$defs"]["d"]["additionalProperties"] is False
    together = {"allOf": [INNER, {"properties": {"c": {}}}]}
    assert _closed(together) == together


@pytest.mark.parametrize(
    ("schema", "bounded"),
    [
        ({"type": "string"}, {"type": "string", "maxLength": 30}),
        ({"type": "string", "minLength": 40}, {"maxLength": 40}),
        ({"type": "string", "pattern": "^a*$"}, {"type": "string", "pattern": "^a*$"}),
        ({"type": "string", "maxLength": 99}, {"maxLength": 99}),
        ({"type": "array", "items": {"type": "string"}}, {"maxItems": 8}),
        ({"type": "array", "minItems": 9}, {"maxItems": 9}),
        ({"anyOf": [{"type": "string"}]}, {"anyOf": [{"type": "string", "maxLength": 30}]}),
    ],
)
def test_what_a_schema_leaves_unbounded_is_bounded(
    schema: dict[str, Any], bounded: dict[str, Any]
) -> None:
    bounds = Bounds(max_length=30, max_items=8)
    assert _closed(schema, bounds).items() >= bounded.items()
    assert _closed(schema).items() == schema.items()
