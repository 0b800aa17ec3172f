"""Figures: how numbers are written, and which texts are some."""

from __future__ import annotations

import re

from coe_core.panel import Link, Table

FIGURE = re.compile(r"[\u2013-]|[$\u2248]?-?[\d.,]+ ?[%a-z]{0,3}")
"""What is set in line with others of its column."""
MANY = 1000


def written(value: float) -> str:
    """Write a number with as many digits as say something."""
    digits = 0 if value == int(value) or abs(value) >= MANY else 2 if abs(value) >= 1 else 6
    text = f"{value:,.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def columns_of_figures(table: Table) -> list[bool]:
    """Tell which columns hold figures alone."""
    columns = zip(*table.rows, strict=True)
    told = [all(map(_is_figure, column)) and any(map(_has_digit, column)) for column in columns]
    return told or [False] * len(table.columns)


def _is_figure(cell: object) -> bool:
    return FIGURE.fullmatch(_text(cell)) is not None


def _has_digit(cell: object) -> bool:
    return any(map(str.isdigit, _text(cell)))


def _text(cell: object) -> str:
    text = cell.text if isinstance(cell, Link) else cell
    return text if isinstance(text, str) else ""
