"""JSON values, JSON Schemas (2020-12), and the values that a schema allows."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from datetime import UTC
from functools import cache
from typing import Any, Literal, TypeAlias

from attrs import field, frozen
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from coe_core.message import Json
from coe_core.testing.strategies.text import names, texts

Schema: TypeAlias = Mapping[str, Json]

BIGGEST = 2**53 - 1
"""The biggest integer that every JSON reader keeps exact."""


PLAIN: tuple[Schema, ...] = (
    {},
    {"type": "null"},
    {"type": "boolean"},
    {"type": "string"},
    {"type": ["number", "null"]},
    {"type": "string", "pattern": "^[A-Z]{2}-[0-9]{1,4}$"},
)


@cache
def keys() -> SearchStrategy[str]:
    """Keys of objects: any text."""
    return st.one_of(names(), st.sampled_from(["", "키", "a.b", "$ref", "__proto__"]))


@cache
def json_values() -> SearchStrategy[Json]:
    """Any JSON value, a few levels deep."""
    numbers = st.integers(-BIGGEST, BIGGEST) | st.floats(allow_nan=False, allow_infinity=False)
    return st.recursive(
        st.one_of(st.none(), st.booleans(), numbers, texts()),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys(), inner, max_size=3),
        max_leaves=5,
    )


@cache
def json_objects() -> SearchStrategy[dict[str, Json]]:
    """Any JSON object."""
    return st.dictionaries(keys(), json_values(), max_size=3)


@cache
def schemas() -> SearchStrategy[Schema]:
    """Schemas with bounds, patterns, choices and constants, a few levels deep."""
    low, width = st.integers(-100, 100), st.integers(0, 100)
    leaves: SearchStrategy[Schema] = st.one_of(
        st.sampled_from(PLAIN).map(deepcopy),
        width.map(lambda n: {"type": "string", "minLength": n % 6, "maxLength": n % 6 + 5}),
        st.builds(lambda n, w: {"type": "integer", "minimum": n, "maximum": n + w}, low, width),
        low.map(lambda n: {"type": "number", "exclusiveMinimum": n}),
        st.lists(texts(), min_size=1, max_size=3, unique=True).map(lambda some: {"enum": some}),
        texts().map(lambda text: {"const": text}),
    )
    return st.recursive(leaves, _nested, max_leaves=4)


@cache
def object_schemas() -> SearchStrategy[Schema]:
    """Schemas of a tool's arguments: objects, some with a reference."""
    return st.one_of(_objects(schemas()), schemas().map(_with_reference))


@cache
def schemas_with_values() -> SearchStrategy[tuple[Schema, Json]]:
    """An argument schema, and a value that it allows."""
    return object_schemas().flatmap(lambda s: st.tuples(st.just(s), values_of(s)))


def values_of(schema: Schema) -> SearchStrategy[Json]:
    """Values that a schema allows, however many of its keywords are understood here: what the
    schema refuses is filtered out, so that a schema of unusual keywords may be slow.
    """
    # Here, because Hypothesis loads this module wherever it is imported.
    import jsonschema_rs

    allows = jsonschema_rs.Draft202012Validator(dict(schema)).is_valid
    return Reading(schema).values(schema).filter(allows)


def _nested(inner: SearchStrategy[Schema]) -> SearchStrategy[Schema]:
    arrays = st.builds(
        lambda items, least: {"type": "array", "items": items, "minItems": least, "maxItems": 3},
        inner,
        st.integers(0, 2),
    )
    choices = st.lists(inner, min_size=1, max_size=3).map(lambda some: {"anyOf": some})
    return st.one_of(arrays, choices, _objects(inner))


def _objects(inner: SearchStrategy[Schema]) -> SearchStrategy[Schema]:
    def build(properties: dict[str, Schema], optional: str, more: Schema) -> Schema:
        required = [name for name in properties if name != optional]
        return {"type": "object", "properties": properties, "required": required, **more}

    return st.dictionaries(names(), inner, max_size=3).flatmap(
        lambda properties: st.builds(
            build,
            st.just(properties),
            st.sampled_from([*properties, ""]),
            st.sampled_from([{}, {"additionalProperties": False}]),
        )
    )


def _with_reference(schema: Schema) -> Schema:
    properties = {"it": {"$ref": "#/$defs/it"}}
    return {"type": "object", "properties": properties, "$defs": {"it": schema}}


@frozen
class Reading:
    """Turns a schema into a strategy; `root` is what references count from."""

    root: Schema
    _referenced: dict[str, SearchStrategy[Json]] = field(factory=dict, init=False)

    def values(self, schema: Schema | Literal[True, False]) -> SearchStrategy[Json]:
        """Values for one schema or subschema."""
        match schema:
            case True:
                return json_values()
            case False:
                return st.nothing()
            case {"$ref": str(reference)}:
                return self._reference(reference)
            case {"const": value}:
                return st.builds(deepcopy, st.just(value))
            case {"enum": values}:
                return st.sampled_from(values).map(deepcopy)
            case {"anyOf": choices} | {"oneOf": choices}:
                rest = _without(schema, "anyOf", "oneOf")
                return st.one_of([self.values(_merged(rest, choice)) for choice in choices])
            case {"allOf": choices}:
                return self.values(_merged(_without(schema, "allOf"), *choices))
            case {"type": [*kinds]}:
                return st.one_of([self.values({**schema, "type": kind}) for kind in kinds])
            case _:
                return self._typed(schema)

    def _reference(self, reference: str) -> SearchStrategy[Json]:
        # One strategy for each, or a schema that contains itself would have no end.
        if reference not in self._referenced:
            inner = st.deferred(lambda: self.values(self._target(reference)))
            self._referenced[reference] = inner
        return self._referenced[reference]

    def _target(self, reference: str) -> Any:
        target: Any = self.root
        for step in reference.removeprefix("#").split("/")[1:]:
            target = target[step.replace("~1", "/").replace("~0", "~")]
        return target

    def _typed(self, schema: Schema) -> SearchStrategy[Json]:
        match schema.get("type", "object" if "properties" in schema else None):
            case "null":
                return st.none()
            case "boolean":
                return st.booleans()
            case "integer":
                return _integers(schema)
            case "number":
                return _numbers(schema)
            case "string":
                return _strings(schema)
            case "array":
                return self._arrays(schema)
            case "object":
                return self._objects(schema)
            case _:
                return json_values()

    def _arrays(self, schema: Schema) -> SearchStrategy[Json]:
        first = [self.values(item) for item in schema.get("prefixItems", ())]
        least = max(0, schema.get("minItems", 0) - len(first))
        most = max(least, schema.get("maxItems", least + len(first) + 3) - len(first))
        unique = repr if schema.get("uniqueItems") else None
        items = self.values(schema.get("items", True))
        none_more: SearchStrategy[list[Json]] = st.builds(list)
        rest = st.lists(items, min_size=least, max_size=most, unique_by=unique)
        more = none_more if schema.get("items") is False else rest
        return st.tuples(st.tuples(*first), more).map(lambda both: [*both[0], *both[1]])

    def _objects(self, schema: Schema) -> SearchStrategy[Json]:
        named = {name: self.values(sub) for name, sub in schema.get("properties", {}).items()}
        unnamed = self.values(schema.get("additionalProperties", True))
        required = {name: named.get(name, unnamed) for name in schema.get("required", ())}
        optional = {name: values for name, values in named.items() if name not in required}
        known = st.fixed_dictionaries(required, optional=optional)
        if schema.get("additionalProperties") is False:
            return known
        others = st.dictionaries(keys(), unnamed, max_size=2)
        return st.tuples(others, known).map(lambda both: {**both[0], **both[1]})


def _without(schema: Schema, *keywords: str) -> Schema:
    return {keyword: value for keyword, value in schema.items() if keyword not in keywords}


def _merged(*schemas: Schema) -> Schema:
    merged: dict[str, Json] = {}
    for schema in schemas:
        for keyword, value in schema.items():
            match merged.get(keyword), value:
                case dict(before), dict(after):
                    merged[keyword] = before | after
                case list(before), list(after) if keyword == "required":
                    merged[keyword] = [*before, *after]
                case _:
                    merged[keyword] = value
    return merged


def _integers(schema: Schema) -> SearchStrategy[Json]:
    step = schema.get("multipleOf", 1)
    low = schema.get("minimum", schema.get("exclusiveMinimum", -BIGGEST))
    high = schema.get("maximum", schema.get("exclusiveMaximum", BIGGEST))
    return st.integers(-(-low // step), high // step).map(lambda number: int(number * step))


def _numbers(schema: Schema) -> SearchStrategy[Json]:
    if "multipleOf" in schema:
        return _integers(schema)
    return st.floats(
        min_value=schema.get("minimum", schema.get("exclusiveMinimum")),
        max_value=schema.get("maximum", schema.get("exclusiveMaximum")),
        exclude_min="exclusiveMinimum" in schema,
        exclude_max="exclusiveMaximum" in schema,
        allow_nan=False,
        allow_infinity=False,
    )


def _strings(schema: Schema) -> SearchStrategy[Json]:
    least, most = schema.get("minLength", 0), schema.get("maxLength")
    match schema:
        case {"pattern": str(pattern)}:
            return st.from_regex(pattern)
        case {"format": "date-time"}:
            return st.datetimes(timezones=st.just(UTC)).map(lambda at: at.isoformat())
        case {"format": "date"}:
            return st.dates().map(lambda day: day.isoformat())
        case {"format": "email"}:
            return names().map("{}@example.com".format)
        case {"format": "uri"}:
            return names().map("https://example.com/{}".format)
        case {"format": "uuid"}:
            return st.uuids().map(str)
        case _ if least or most is not None:
            return st.text(min_size=least, max_size=most)
        case _:
            return texts()
