"""The content of a passage: what of it is embedded, and found by its words."""

from __future__ import annotations

import hashlib

from coe_core.turn import Passage


def content(passage: Passage) -> str:
    """Return what of a passage is embedded, and found by its words: its title and headings too."""
    above = " > ".join(filter(None, dict.fromkeys((passage.title, *passage.place.headings))))
    if passage.kind == "turn":
        return f"{passage.title}: {passage.text}" if passage.title else passage.text
    return f"{above}\n{passage.text}" if above else passage.text


def digest(text: str) -> str:
    """Return the hash by which a content's vector is kept."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
