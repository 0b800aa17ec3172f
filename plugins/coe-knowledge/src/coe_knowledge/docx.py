"""DOCX, by python-docx: paragraphs below their headings, and tables row by row."""

from __future__ import annotations

import io
import re
import unicodedata
import zipfile
from collections.abc import Iterator
from typing import Any

from coe_core.turn import Place
from coe_knowledge.block import Block, Script, Unreadable

LARGEST_UNPACKED_BYTES = 512 * 1024 * 1024
HEADING = re.compile(r"(?:heading|제목) ?(\d)", re.IGNORECASE)


def read_docx(content: bytes, name: str) -> Script:
    """Read the body of a document; what stands in its margins is not read."""
    import docx
    from docx.opc.exceptions import OpcError
    from lxml.etree import LxmlError  # type: ignore[import-untyped]

    if content.startswith(b"\xd0\xcf\x11\xe0"):
        raise Unreadable(f"{name} is encrypted, or of an old Word; save it as DOCX, no password")
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as packed:
            if sum(entry.file_size for entry in packed.infolist()) > LARGEST_UNPACKED_BYTES:
                raise Unreadable(f"{name} unpacks to more than half a gigabyte")
        document = docx.Document(io.BytesIO(content))
        blocks = tuple(_blocks(document))
        title = str(document.core_properties.title or "").strip()
    except (zipfile.BadZipFile, OpcError, LxmlError, KeyError, ValueError, OSError) as error:
        raise Unreadable(f"{name} is a broken DOCX: {error or type(error).__name__}") from error
    return Script(blocks=blocks, title=title)


def _blocks(document: Any) -> Iterator[Block]:
    headings: dict[int, str] = {}
    for part in document.iter_inner_content():
        text = _table(part) if hasattr(part, "rows") else part.text
        text = unicodedata.normalize("NFC", text).strip()
        style = "" if hasattr(part, "rows") else (part.style.name if part.style else "")
        if text and (match := HEADING.match(style or "")):
            level = int(match[1])
            headings = {k: v for k, v in headings.items() if k < level} | {level: text}
        elif text:
            above = tuple(headings[level] for level in sorted(headings))
            yield Block(text=text, place=Place(headings=above))


def _table(table: Any) -> str:
    """Write a table, a row to a line; a cell that spans several stands once."""
    rows = []
    for row in table.rows:
        cells = dict.fromkeys(cell.text.strip() for cell in row.cells)
        rows.append(" | ".join(cell for cell in cells if cell))
    return "\n".join(rows)
