"""Names in settings: fields that name a model or a component of whatever plugin.

A plugin writes `naming("rerankers", "")` instead of `field(default="")` in its settings class. A
name that nothing has is told as a problem when the deployment is composed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import attrs
from attrs import field, frozen


def naming(kind: str, default: Any = None, **options: Any) -> Any:
    """Declare a settings field that holds a name, or several: of `models`, or of a kind of
    component, `rerankers` say. None and "" name nothing. `options` are those of `attrs.field`.
    """
    return field(default=default, metadata={"names": kind}, **options)


@frozen
class Name:
    """A name that settings say, at a dotted path."""

    path: str
    kind: str
    text: str


def names(path: str, said: Any) -> Iterator[Name]:
    """Yield the names in a settings object and the tables below it; not those that are its own
    defaults, which need not be installed.
    """
    if isinstance(said, Mapping):
        for key, inner in said.items():
            yield from names(f"{path}.{key}", inner)
    elif isinstance(said, tuple):
        for inner in said:
            yield from names(path, inner)
    for attribute in attrs.fields(type(said)) if attrs.has(type(said)) else ():
        at, value = f"{path}.{attribute.name}", getattr(said, attribute.name)
        if (kind := attribute.metadata.get("names")) is None:
            yield from names(at, value)
        elif value != attribute.default:
            texts = [value] if isinstance(value, str) else value or ()
            yield from (Name(at, kind, text) for text in texts if text)
