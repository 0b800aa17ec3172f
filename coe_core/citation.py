"""Citations: which of the passages shown an answer uses, by the numbers that it writes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from urllib.parse import quote

from attrs import frozen

from coe_core.turn import Passage

MARKER = re.compile(r"[\[【]\s*([0-9]{1,3}(?:\s*[,;]\s*[0-9]{1,3})*)\s*[\]】](?!\()")
"""`[1]`, `[1, 3]`, and the brackets that some models write; a link is none."""
NUMBER = re.compile(r"[0-9]+")
CODE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]*`", re.DOTALL)


@frozen(kw_only=True)
class Citation:
    """One place where an answer cites a passage."""

    passage: Passage
    number: int
    """What the passage was shown as, from 1."""
    start: int
    """Of the marker, in code points of the text."""
    end: int


def citations(text: str, shown: Sequence[Passage]) -> Sequence[Citation]:
    """Find where a text cites the passages that were shown, in its order. What stands in code is no
    citation, nor a number that nothing was shown as.
    """
    if not shown:
        return ()
    prose = CODE.sub(lambda match: " " * len(match[0]), text)
    return [
        Citation(passage=shown[number - 1], number=number, start=marker.start(), end=marker.end())
        for marker in MARKER.finditer(prose)
        for number in map(int, NUMBER.findall(marker[1]))
        if 1 <= number <= len(shown)
    ]


def passage_path(passage: Passage) -> str | None:
    """Return where a passage can be opened, below the server's address: at whoever provides the
    `KnowledgeStore`. None for what is not of the store.
    """
    if passage.kind in ("", "turn"):
        return None
    return f"/coe/v1/knowledge/passages/{quote(passage.id, safe='')}"


def used(shown: Sequence[Passage], texts: Sequence[str]) -> tuple[str, ...]:
    """Return the ids of the passages that texts cite, in the order in which they do."""
    found = (c.passage.id for text in texts for c in citations(text, shown))
    return tuple(dict.fromkeys(found))
