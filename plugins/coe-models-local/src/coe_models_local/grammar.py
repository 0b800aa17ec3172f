"""Grammars that hold a model to a JSON Schema."""

from __future__ import annotations

import json
from collections.abc import Mapping

from attrs import frozen

from coe_core.error import InvalidField
from coe_core.message import Json

WHITESPACE = r"\n? {0,8}"
"""Between the parts: as models are used to write it, but never without end."""


@frozen(kw_only=True)
class Bounds:
    """How long what a schema leaves unbounded may grow: a small model may never end it."""

    max_length: int
    """Of a string, in characters."""
    max_items: int
    """Of a list."""


def grammar(
    schema: Mapping[str, Json], *, param: str, strict: bool = False, bounds: Bounds | None = None
) -> str:
    """Write the grammar of a schema, in the language of llguidance.

    Keywords that cannot be held to are passed over, unless `strict`. Raises `InvalidField`, because
    llama.cpp would answer without any constraint where a grammar cannot be compiled. Blocks: a few
    milliseconds, for a huge schema a few hundred.
    """
    import llguidance  # takes 0.1 s

    options = {"whitespace_pattern": WHITESPACE, "lenient": not strict}
    held = {**_closed(schema, bounds), "x-guidance": options}
    text = f"%llguidance {{}}\nstart: %json {json.dumps(held)}"
    if problem := llguidance.LLMatcher.validate_grammar(text):
        reason = problem.partition("JSON schema: ")[2] or problem
        msg = f"{param}: the local model cannot be held to this schema: {reason.splitlines()[0]}"
        raise InvalidField(msg, param=param)
    return text


NAMED = frozenset(["$defs", "definitions", "dependentSchemas", "properties"])
"""Keywords that hold schemas by name."""

NESTED = frozenset(["anyOf", "items", "oneOf", "prefixItems"])
"""Keywords that hold schemas, one or a list."""

OPENING = frozenset(
    {
        "$ref",
        "additionalProperties",
        "anyOf",
        "dependentSchemas",
        "if",
        "oneOf",
        "patternProperties",
        "propertyNames",
        "unevaluatedProperties",
    }
)
"""Keywords that may say which more properties an object has."""


def _closed(schema: Json, bounds: Bounds | None = None) -> Json:
    """Allow an object the properties that are declared, and no others, where the schema leaves it
    open: what is written is valid all the same, and a small model would go on making up more.
    """
    # The parts of an `allOf` hold together: what one does not declare another may.
    return schema if '"allOf"' in json.dumps(schema) else _closed_below(schema, bounds)


def _closed_below(schema: Json, bounds: Bounds | None) -> Json:
    if isinstance(schema, list):
        return [_closed_below(each, bounds) for each in schema]
    if not isinstance(schema, Mapping):
        return schema
    closed = dict(schema)
    for keyword in NESTED & schema.keys():
        closed[keyword] = _closed_below(schema[keyword], bounds)
    for keyword in NAMED & schema.keys():
        if isinstance(named := schema[keyword], Mapping):
            closed[keyword] = {name: _closed_below(each, bounds) for name, each in named.items()}
    if isinstance(schema.get("properties"), Mapping) and not OPENING & schema.keys():
        closed["additionalProperties"] = False
    return closed if bounds is None else _bounded(closed, bounds)


def _bounded(schema: dict[str, Json], bounds: Bounds) -> Json:
    match schema:
        case {"maxLength": _} | {"pattern": _} | {"format": _} | {"enum": _} | {"const": _}:
            return schema
        case {"type": "string", **others}:
            return {**schema, "maxLength": max(bounds.max_length, others.get("minLength", 0))}
        case {"type": "array", **others} if "maxItems" not in schema:
            return {**schema, "maxItems": max(bounds.max_items, others.get("minItems", 0))}
        case _:
            return schema
