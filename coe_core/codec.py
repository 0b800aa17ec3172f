"""The one converter between attrs classes and JSON: strict about types, kind to unknown fields.

A class with an `extra` field keeps in it every field that the class does not name, and gives them
back beside its own. A field that is null or empty by default is left out while it is. Money is a
decimal string, time an RFC 3339 string in UTC.
"""

from __future__ import annotations

import collections.abc
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

import attrs
import msgspec
from cattrs import Converter, transform_error
from cattrs.cols import mapping_structure_factory
from cattrs.errors import IterableValidationError, IterableValidationNote
from cattrs.fns import identity
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override

T = TypeVar("T")
Hook = Callable[[Any, Any], Any]

_KIND_NAMES: Mapping[type, str] = {
    str: "a string",
    int: "an integer",
    float: "a number",
    bool: "true or false",
    list: "a list",
    dict: "an object",
    NoneType: "null",
}


_JSON = (Any, Mapping[str, Any])
"""Types of which a value is JSON already."""


def _expected(kinds: collections.abc.Iterable[type], value: object) -> TypeError:
    wanted = " or ".join(dict.fromkeys(_KIND_NAMES[kind] for kind in kinds))
    got = _KIND_NAMES.get(type(value), type(value).__name__)
    return TypeError(f"expected {wanted}, got {got}")


def _strict(kind: type, *also: type) -> Hook:
    accepted = (kind, *also)

    def structure(value: Any, _: Any) -> Any:
        if type(value) not in accepted:
            raise _expected([kind], value)
        return value

    return structure


def _integer(value: Any, _: Any) -> int:
    """Take 1.0 as well: to JSON it is the same number."""
    if type(value) is float and value.is_integer():
        return int(value)
    if type(value) is not int:
        raise _expected([int], value)
    return value


def _literal_hook(kind: Any) -> Hook:
    choices = get_args(kind)

    def structure(value: Any, _: Any) -> Any:
        if type(value) is str and value in choices:
            return value
        wanted = ", ".join(map(repr, choices))
        msg = f"expected one of {wanted}, got {value!r:.80}"
        raise ValueError(msg)

    return structure


def _decimal(value: Any, _: Any) -> Decimal:
    if type(value) not in (str, int, float, Decimal):
        raise _expected([float], value)
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        number = Decimal("NaN")
    if not number.is_finite():
        msg = f"expected a decimal number, got {value!r:.80}"
        raise ValueError(msg)
    return number


def _datetime(value: Any, _: Any) -> datetime:
    if type(value) is not str:
        raise _expected([str], value)
    at = datetime.fromisoformat(value)
    if at.tzinfo is None:
        msg = "expected a time with its zone"
        raise ValueError(msg)
    return at.astimezone(UTC)


def _json_kinds(member: Any) -> tuple[type, ...]:
    """Which JSON values may stand for a member of a union."""
    origin = get_origin(member) or member
    if origin is float:
        return (float, int)
    if origin is int:
        return (int, float)
    if origin in (str, bool):
        return (origin,)
    if origin is Decimal:
        return (str, int, float)
    if origin in (tuple, list, collections.abc.Sequence):
        return (list, tuple)
    if attrs.has(origin) or _is_mapping(member) or origin is dict:
        return (dict,)
    return (str,)


def _union_factory(kind: Any, converter: Converter) -> Hook:
    """Tell the members of a union apart by the kind of the JSON value."""
    others = [member for member in get_args(kind) if member is not NoneType]
    if len(others) == 1:
        return _optional(converter.get_structure_hook(others[0]), others[0])
    members = {
        json_kind: (converter.get_structure_hook(member), member)
        for member in get_args(kind)
        if member is not NoneType
        for json_kind in _json_kinds(member)
    }
    classes = [member for member in get_args(kind) if attrs.has(member)]
    if len(classes) > 1:
        members[dict] = (_tagged(classes, converter), kind)
    takes_null = NoneType in get_args(kind)

    def structure(value: Any, _: Any) -> Any:
        if value is None and takes_null:
            return None
        try:
            hook, member = members[type(value)]
        except KeyError:
            raise _expected((k for k in members if k in _KIND_NAMES), value) from None
        return hook(value, member)

    return structure


def _optional(hook: Hook, kind: Any) -> Hook:
    return lambda value, _: None if value is None else hook(value, kind)


def _tagged(classes: list[type], converter: Converter) -> Hook:
    """Tell classes apart by the literals of their `type`; a missing one is the first's default."""
    types = [attrs.fields_dict(attrs.resolve_types(cls))["type"] for cls in classes]
    members = {
        tag: (converter.get_structure_hook(cls), cls)
        for cls, attribute in zip(classes, types, strict=True)
        for tag in get_args(attribute.type)
    }

    def structure(value: Any, _: Any) -> Any:
        tag = value.get("type", types[0].default)
        if type(tag) is not str or tag not in members:
            wanted = ", ".join(map(repr, members))
            got = "no type" if tag is attrs.NOTHING else f"the type {tag!r:.80}"
            msg = f"expected one of the types {wanted}, got {got}"
            raise ValueError(msg)
        hook, cls = members[tag]
        return hook(value, cls)

    return structure


def _tuple_factory(kind: Any, converter: Converter) -> Hook:
    """Take a JSON list only: a string is not a list of its letters.

    Stops at the first item that is at fault. To gather them all, as cattrs does, takes a minute for
    a list of a megabyte.
    """
    item_type = get_args(kind)[0]
    hook = converter.get_structure_hook(item_type)

    def structure(value: Any, _: Any) -> Any:
        if type(value) not in (list, tuple):
            raise _expected([list], value)
        made: list[Any] = []
        try:
            for item in value:
                made.append(hook(item, item_type))  # noqa: PERF401 the fault's place is its length
        except Exception as error:
            place = IterableValidationNote(f"item {len(made)}", len(made), item_type)
            error.__notes__ = [*getattr(error, "__notes__", ()), place]
            raise IterableValidationError(f"in {kind!r}", [error], kind) from error
        return tuple(made)

    return structure


def _mapping_factory(kind: Any, converter: Converter) -> Hook:
    value_type = (get_args(kind) or (str, Any))[1]
    dict_of: Any = dict[str, value_type]  # type: ignore[valid-type]
    hook = mapping_structure_factory(dict_of, converter) if value_type is not Any else None

    def structure(value: Any, _: Any) -> Any:
        if type(value) is not dict:
            raise _expected([dict], value)
        return hook(value, dict_of) if hook else value

    return structure


def _structure_class(cls: type, converter: Converter) -> Hook:
    names = frozenset(attribute.name for attribute in attrs.fields(cls))
    known, keeps_extra = names - {"extra"}, "extra" in names
    checks: dict[str, Any] = {
        attribute.name: override(struct_hook=_checked(attribute, converter))
        for attribute in attrs.fields(attrs.resolve_types(cls))
        if attribute.validator is not None
    }
    plain: Hook = make_dict_structure_fn(cls, converter, **checks)

    def structure(value: Any, _: Any) -> Any:
        if type(value) is not dict:
            raise _expected([dict], value)
        if keeps_extra and (unknown := value.keys() - known):
            named = {name: value[name] for name in value.keys() & known}
            extra = {name: given for name, given in value.items() if name in unknown}
            value = named | {"extra": extra}
        return plain(value, cls)

    return structure


def _checked(attribute: attrs.Attribute[Any], converter: Converter) -> Hook:
    """Validate a field while its path is known: an error of the class's own names no path."""
    validate, hook = attribute.validator, converter.get_structure_hook(attribute.type)

    def structure(value: Any, kind: Any) -> Any:
        structured = hook(value, kind)
        if validate is not None:
            validate(None, attribute, structured)
        return structured

    return structure


def _unstructure_class(cls: type, converter: Converter) -> Callable[[Any], Any]:
    ways: dict[str, Any] = {
        attribute.name: override(
            omit_if_default=_is_nothing(attribute.default),
            unstruct_hook=identity if attribute.type in _JSON else None,
        )
        for attribute in attrs.fields(attrs.resolve_types(cls))
    }
    if "extra" not in ways:
        return make_dict_unstructure_fn(cls, converter, **ways)
    plain: Callable[[Any], Any] = make_dict_unstructure_fn(
        cls, converter, **ways | {"extra": override(omit=True)}
    )

    def unstructure(value: Any) -> Any:
        fields = plain(value)
        return {**fields, **value.extra} if value.extra else fields

    return unstructure


def _is_nothing(default: Any) -> bool:
    if isinstance(default, attrs.Factory):  # type: ignore[arg-type]
        return default.factory in (dict, list)
    return default is None or default in ("", ())


def _is_union(kind: Any) -> bool:
    return get_origin(kind) in (Union, UnionType)


def _is_tuple(kind: Any) -> bool:
    return get_origin(kind) is tuple and get_args(kind)[-1] is Ellipsis


def _is_literal(kind: Any) -> bool:
    return get_origin(kind) is Literal


def _is_mapping(kind: Any) -> bool:
    return (get_origin(kind) or kind) in (dict, collections.abc.Mapping)


def make_converter() -> Converter:
    """Make a converter as this module describes it."""
    made = Converter()
    made.register_structure_hook_factory(attrs.has, lambda cls: _structure_class(cls, made))
    made.register_unstructure_hook_factory(attrs.has, lambda cls: _unstructure_class(cls, made))
    made.register_structure_hook_factory(_is_union, lambda kind: _union_factory(kind, made))
    made.register_structure_hook_factory(_is_tuple, lambda kind: _tuple_factory(kind, made))
    made.register_structure_hook_factory(_is_mapping, lambda kind: _mapping_factory(kind, made))
    made.register_structure_hook_factory(_is_literal, _literal_hook)
    for kind, also in ((str, ()), (bool, ()), (float, (int,))):
        made.register_structure_hook(kind, _strict(kind, *also))
    made.register_structure_hook(int, _integer)
    made.register_structure_hook(Decimal, _decimal)
    made.register_unstructure_hook(Decimal, str)
    made.register_structure_hook(datetime, _datetime)
    made.register_unstructure_hook(datetime, rfc3339)
    return made


def rfc3339(at: datetime) -> str:
    """Write an aware time in UTC, with microseconds: texts of equal length sort by time."""
    text = msgspec.json.encode(at.astimezone(UTC))[1:-1].decode()  # A tenth of what Python takes.
    return text if at.microsecond else f"{text[:-1]}.000000Z"


converter = make_converter()


def structure(value: Any, cls: type[T]) -> T:
    """Make an instance of `cls` from JSON values. Raises what `shape_errors` explains."""
    return converter.structure(value, cls)


def unstructure(value: Any) -> Any:
    """Make JSON values from an attrs instance."""
    return converter.unstructure(value)


def encode(value: Any) -> bytes:
    """Write JSON text, compact, in UTF-8. Takes JSON values and attrs instances."""
    return msgspec.json.encode(converter.unstructure(value))


def canonical(value: Any) -> bytes:
    """Write JSON text with sorted keys, to be hashed."""
    return msgspec.json.encode(value, order="sorted")


def decode(text: bytes | str) -> Any:
    """Read JSON text. Raises `msgspec.DecodeError`, `RecursionError` or `UnicodeDecodeError`."""
    return msgspec.json.decode(text)


def shape_errors(error: BaseException) -> list[tuple[str, str]]:
    """Explain why `structure` failed: pairs of a path (`messages[0].role`) and what was wrong."""
    lines = transform_error(error, path="$", format_exception=lambda e, _: _explain(e))
    pairs = (line.rpartition(" @ ") for line in lines)
    return [(path.removeprefix("$").lstrip("."), text) for text, _, path in pairs]


def _explain(error: BaseException) -> str:
    if isinstance(error, KeyError):
        return f"the field {error.args[0]!r} is missing"
    return str(error).splitlines()[0] if str(error) else type(error).__name__
