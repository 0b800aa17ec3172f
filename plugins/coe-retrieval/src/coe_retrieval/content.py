"""The content of a passage: what is found by its words, and by its meaning."""

from __future__ import annotations

import hashlib

from coe_core.turn import Passage

ANSWERED = 200
"""So many of the last characters of what a turn answers are embedded with it: a long answer must
not drown the short question that follows it.
"""


def content(passage: Passage) -> str:
    """Return what of a passage is found by its words: its title and headings too."""
    above = " > ".join(filter(None, dict.fromkeys((passage.title, *passage.place.headings))))
    if passage.kind == "turn":
        return f"{passage.title}: {passage.text}" if passage.title else passage.text
    return f"{above}\n{passage.text}" if above else passage.text


def meant(passage: Passage, before: Passage | None) -> str:
    """Return what of a passage is embedded: its content; a turn's behind the end of the one before,
    for an answer means what was asked.
    """
    own = content(passage)
    return own if before is None else f"{content(before)[-ANSWERED:]}\n{own}"


def digest(text: str) -> str:
    """Return the hash by which a content's vector is kept."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
