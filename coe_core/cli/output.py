"""What commands print: tables whose columns stand straight in Korean too, and JSON."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

import click
import msgspec

from coe_core.codec import converter
from coe_core.message import Json

GAP = "  "


def echo_json(value: Json) -> None:
    """Print JSON, indented, its letters as they are."""
    text = msgspec.json.encode(converter.unstructure(value))
    click.echo(msgspec.json.format(text, indent=2).decode())


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lay rows out under their headings; every row as long as `columns`."""
    lines = [columns, *rows]
    widths = [max(map(width, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        GAP.join(_padded(cell, size) for cell, size in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def width(text: str) -> int:
    """Count the columns that a text takes in a terminal (UAX #11)."""
    return sum(map(_character_width, unicodedata.normalize("NFC", text)))


def _character_width(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _padded(text: str, size: int) -> str:
    return text + " " * (size - width(text))
