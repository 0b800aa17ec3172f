"""The docstrings of a class's fields: the string that follows each, which Python does not keep."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Mapping
from functools import cache
from itertools import pairwise


def field_docs(cls: type) -> Mapping[str, str]:
    """Return field to docstring, on one line, inherited ones included; nothing of a class whose
    source is not there to be read.
    """
    return {name: text for base in reversed(cls.__mro__) for name, text in _own_docs(base).items()}


@cache
def _own_docs(cls: type) -> Mapping[str, str]:
    try:
        tree = ast.parse(inspect.getsource(cls).strip())
    except (OSError, TypeError, SyntaxError):
        return {}
    match tree.body:
        case [ast.ClassDef(body=body)]:
            return dict(_documented(body))
        case _:
            return {}


def _documented(body: list[ast.stmt]) -> list[tuple[str, str]]:
    return [
        (name, " ".join(text.split()))
        for statement, after in pairwise(body)
        if (name := _field(statement)) and (text := _text(after))
    ]


def _field(statement: ast.stmt) -> str | None:
    match statement:
        case ast.AnnAssign(target=ast.Name(id=name)):
            return name
        case _:
            return None


def _text(statement: ast.stmt) -> str | None:
    match statement:
        case ast.Expr(value=ast.Constant(value=str(text))):
            return text
        case _:
            return None
