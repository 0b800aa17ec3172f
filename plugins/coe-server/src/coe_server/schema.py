"""JSON Schema (2020-12) of attrs classes, as `coe_core.codec` reads and writes them."""

from __future__ import annotations

import collections.abc
import inspect
from datetime import datetime
from decimal import Decimal
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

import attrs
from attrs import define, field

from coe_core.codec import unstructure
from coe_core.docstring import field_docs
from coe_core.message import Json

Schema = dict[str, Json]

SIMPLE: dict[Any, Schema] = {
    Any: {},
    object: {},
    NoneType: {"type": "null"},
    str: {"type": "string"},
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"type": "number"},
    # Sent as text, taken as a number too.
    Decimal: {"type": ["string", "number"], "format": "decimal"},
    datetime: {"type": "string", "format": "date-time"},
}


@define
class Components:
    """The schemas of classes, each once, by name."""

    schemas: dict[str, Schema] = field(factory=dict)
    _names: dict[type, str] = field(factory=dict)

    def schema(self, kind: Any) -> Schema:
        """Return the schema of a type: a reference for a class, which joins the components."""
        if kind in SIMPLE:
            return dict(SIMPLE[kind])
        if attrs.has(kind):
            return {"$ref": f"#/components/schemas/{self._name(kind)}"}
        origin, members = get_origin(kind), get_args(kind)
        if origin is Literal:
            return {"const": members[0]} if len(members) == 1 else {"enum": list(members)}
        if origin in (Union, UnionType):
            return self._union(members)
        if origin in (tuple, list, collections.abc.Sequence):
            return {"type": "array", "items": self.schema(members[0])}
        if origin in (dict, collections.abc.Mapping):
            return {"type": "object", "additionalProperties": self.schema(members[1]) or True}
        return self.schema(kind.__supertype__)

    def replace(self, cls: type, name: str, schema: Schema) -> None:
        """Describe one field of a class by another schema: what is known only at run time."""
        properties = self.schemas[self._name(cls)]["properties"]
        properties[name] = schema | described(cls, attrs.fields_dict(cls)[name])

    def _name(self, cls: type) -> str:
        if cls not in self._names:
            taken = cls.__name__ in self.schemas
            name = f"{cls.__module__}.{cls.__name__}" if taken else cls.__name__
            self._names[cls] = name
            # The name is taken before the fields are looked at: a class may contain itself.
            self.schemas[name] = {}
            self.schemas[name].update(self._object(cls))
        return self._names[cls]

    def _union(self, members: tuple[Any, ...]) -> Schema:
        schemas = [self.schema(member) for member in members]
        keywords = [keyword for schema in schemas for keyword in schema if keyword != "type"]
        if all("type" in schema for schema in schemas) and len(set(keywords)) == len(keywords):
            # A keyword says nothing of values of another type, so that they can stand together.
            together = {keyword: value for schema in schemas for keyword, value in schema.items()}
            return together | {"type": [kind for schema in schemas for kind in _kinds(schema)]}
        return {"anyOf": schemas}

    def _object(self, cls: type) -> Schema:
        attributes = attrs.fields(attrs.resolve_types(cls))
        named = [attribute for attribute in attributes if attribute.name != "extra"]
        others = [attribute for attribute in attributes if attribute.name == "extra"]
        return {
            "type": "object",
            "description": inspect.getdoc(cls) or "",
            "properties": {
                attribute.name: self.field(attribute) | described(cls, attribute)
                for attribute in named
            },
            "required": [a.name for a in named if a.default is attrs.NOTHING],
            "additionalProperties": all(a.metadata.get("schema", True) for a in others),
        }

    def field(self, attribute: attrs.Attribute[Any]) -> Schema:
        """Return the schema of a field. Its metadata may hold a `schema` with keywords that its
        type and validators do not tell.
        """
        schema = self.schema(attribute.type)
        written = str(schema)
        schema |= {
            keyword: bound
            for keyword, bound in constraints(attribute.validator).items()
            if KEYWORD_KIND.get(keyword, "") in written
        }
        schema |= attribute.metadata.get("schema", {})
        if not isinstance(attribute.default, attrs.Factory) and attribute.default not in (  # type: ignore[arg-type]
            attrs.NOTHING,
            None,
        ):
            schema["default"] = unstructure(attribute.default)
        return schema


def without_null(schema: Schema) -> Schema:
    """Return the schema of a value that is left out instead of being null."""
    kinds = schema.get("type")
    if isinstance(kinds, list):
        kept = [kind for kind in kinds if kind != "null"]
        schema = schema | {"type": kept[0] if len(kept) == 1 else kept}
    if "anyOf" in schema:
        schema = schema | {"anyOf": [m for m in schema["anyOf"] if m != {"type": "null"}]}
    return schema


def _kinds(schema: Schema) -> list[str]:
    kinds = schema["type"]
    return kinds if isinstance(kinds, list) else [kinds]


def described(cls: type, attribute: attrs.Attribute[Any]) -> Schema:
    """Return the description of a field, if it has one."""
    text = field_docs(cls).get(attribute.name)
    return {"description": text} if text else {}


def constraints(validator: Any) -> Schema:
    """Return the keywords for one of attrs' validators, {} for a function of one's own.

    A keyword says nothing of values of another kind: `minimum` leaves null alone, `minItems` text.
    """
    match type(validator).__name__, validator:
        case "_AndValidator", _:
            parts = validator._validators  # noqa: SLF001 attrs has no public way to ask
            return {k: v for part in parts for k, v in constraints(part).items()}
        case "_OptionalValidator", _:
            return constraints(validator.validator)
        case "_NumberValidator", _:
            return {BOUNDS[validator.compare_op]: validator.bound}
        case "_InValidator", _:
            return {"enum": list(validator.options)}
        case "_MatchesReValidator", _:
            return {"pattern": f"^(?:{validator.pattern.pattern})$"}
        case "_MinLengthValidator", _:
            return {"minLength": validator.min_length, "minItems": validator.min_length}
        case "_MaxLengthValidator", _:
            return {"maxLength": validator.max_length, "maxItems": validator.max_length}
        case _:
            return {}


KEYWORD_KIND = {
    "minLength": "'string'",
    "maxLength": "'string'",
    "minItems": "'array'",
    "maxItems": "'array'",
}
"""Keywords of attrs' length validators, which fit text and lists alike."""

BOUNDS = {
    ">=": "minimum",
    ">": "exclusiveMinimum",
    "<=": "maximum",
    "<": "exclusiveMaximum",
}
