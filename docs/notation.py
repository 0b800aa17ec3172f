"""How the reference writes down types, defaults, signatures and tables."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

import attrs
from attrs import frozen

from coe_core.docstring import field_docs
from coe_core.settings import Secret

NAMES: Mapping[Any, str] = {
    str: "string",
    int: "integer",
    float: "number",
    bool: "boolean",
    Decimal: "decimal",
    Secret: "secret: `env:NAME` or `file:PATH`",
}

HOMES = re.compile(r"\b(?:coe_\w+|typing|collections|decimal|datetime)(?:\.[a-z_]+)*\.(?=\w)")
"""The modules of names, which a reader can do without."""


def kind(of: Any) -> str:
    """Say a type in the words of TOML and JSON."""
    origin, arguments = get_origin(of), get_args(of)
    if origin in (Union, UnionType):
        return " or ".join(kind(member) for member in arguments if member is not NoneType)
    if origin is Literal:
        return " or ".join(f"`{choice}`" for choice in arguments)
    if origin in (tuple, list):
        return f"list of {kind(arguments[0])}"
    if origin is not None and issubclass(origin, Mapping):
        return f"table of {kind(arguments[1])}"
    if of not in NAMES and inspect.isclass(of) and attrs.has(of):
        return f"table `{of.__name__}`"
    return NAMES.get(of, "any")


def default(attribute: attrs.Attribute[Any], write: Callable[[Any], str] = repr) -> str:
    """Say what a field is when it is left out; "" for nothing that could be written."""
    match attribute.default:
        case attrs.NOTHING:
            return "required"
        case attrs.Factory(factory=factory):  # type: ignore[misc]
            return f"`{write(factory())}`" if factory in (dict, list, tuple) else ""
        case Decimal() as number:
            return f"`{number}`"
        case str() | bool() | int() | float() | tuple() as value:
            return f"`{write(value)}`"
        case _:
            return ""


def inherited_docs(cls: type[Any]) -> dict[str, str]:
    """Collect the fields' docstrings, a subclass's over its base's."""
    docs: dict[str, str] = {}
    for base in reversed(cls.__mro__[:-1]):
        docs |= field_docs(base)
    return docs


@frozen(repr=False)
class Verbatim:
    """A text that stands in a signature as it is."""

    text: str

    def __repr__(self) -> str:
        """Return the text."""
        return self.text


def signature(function: Callable[..., Any]) -> str:
    """Write a signature with its annotations as they stand in the code."""
    written = inspect.signature(function)
    parameters = [
        p if p.annotation is p.empty else p.replace(annotation=Verbatim(annotation(p.annotation)))
        for p in written.parameters.values()
    ]
    returned = written.return_annotation
    if returned is not written.empty:
        returned = Verbatim(annotation(returned))
    return str(written.replace(parameters=parameters, return_annotation=returned))


def annotation(of: Any) -> str:
    """Write a type without the modules of its names."""
    return HOMES.sub("", of if isinstance(of, str) else inspect.formatannotation(of))


def doc(described: Any) -> str:
    """Return the docstring, one paragraph to a line."""
    paragraphs = (inspect.getdoc(described) or "").split("\n\n")
    return "\n\n".join(p if p.startswith("```") else " ".join(p.split()) for p in paragraphs)


def first_paragraph(described: Any) -> str:
    """Return what a docstring begins with."""
    return doc(described).partition("\n\n")[0]


def code(text: str) -> str:
    """Write Python that shows something and is not to be run."""
    return f"```py\n{text}\n```"


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Write a table."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def joined(blocks: Sequence[str]) -> str:
    """Write the blocks of a page, the empty ones left out."""
    return "\n\n".join(block for block in blocks if block) + "\n"
