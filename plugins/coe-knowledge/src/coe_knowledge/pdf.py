"""PDF, by pypdf: the text of each page."""

from __future__ import annotations

import io
import unicodedata

from coe_core.turn import Place
from coe_knowledge.block import Block, Script, Unreadable


def read_pdf(content: bytes, name: str) -> Script:
    """Read the pages of a PDF; an encrypted one, if it opens without a password."""
    from pypdf import PasswordType, PdfReader
    from pypdf.errors import DependencyError

    try:
        reader = PdfReader(io.BytesIO(content))
        if reader.is_encrypted and reader.decrypt("") == PasswordType.NOT_DECRYPTED:
            raise Unreadable(f"{name} is encrypted; add a copy without a password")
        blocks = [
            Block(text=paragraph, place=Place(page=number))
            for number, page in enumerate(reader.pages, start=1)
            for paragraph in _paragraphs(page.extract_text())
        ]
        title = str((reader.metadata and reader.metadata.title) or "")
    except DependencyError as error:
        raise Unreadable(f"{name} is encrypted; add a copy without a password") from error
    except Unreadable:
        raise
    except Exception as error:
        # A broken file makes it stumble in more ways than it has errors for.
        raise Unreadable(f"{name} is a broken PDF: {error or type(error).__name__}") from error
    if not blocks:
        raise Unreadable(
            f"{name} has pages, but no text: it may be scanned; add it with its text recognised"
        )
    return Script(blocks=tuple(blocks), title=title.strip())


def _paragraphs(page: str) -> list[str]:
    text = unicodedata.normalize("NFC", page).replace("\x00", " ")
    parts = [part.strip() for part in text.split("\n\n")]
    return [part for part in parts if part]
