"""Sentences of Korean and English text."""

from __future__ import annotations

import re
from collections.abc import Sequence

# An end, its quotes and brackets, and the blank behind it; or a line's end, as lists and Korean
# memos have instead of a full stop. "3.5" has no blank in it, and is no end.
BOUNDARY = re.compile(r"""(?<=[.!?…。\uff01\uff1f])["'\u201d\u2019」』)\]]*[ \t\u3000]+|\n+""")

ABBREVIATION = re.compile(
    r"(?:^|[\s(])(?:[A-Za-z]|Mr|Mrs|Ms|Dr|Prof|St|No|Nos|vs|etc|cf|al|Inc|Ltd|Co|Corp|Fig|Sec|Art"
    r"|approx|e\.g|i\.e|\d+)\.$"
)
"""What ends with a full stop in the middle of a sentence: "1." too begins an item of a list."""
LONGEST = 12
"""Of the abbreviations, with what is before them."""


def sentences(text: str) -> Sequence[str]:
    """Cut a text behind its sentences. Joined again, they are the text."""
    found = []
    start = 0
    for match in BOUNDARY.finditer(text):
        before = max(0, match.start() - LONGEST)
        if "\n" not in match[0] and ABBREVIATION.search(text, before, match.start()):
            continue
        found.append(text[start : match.end()])
        start = match.end()
    if start < len(text):
        found.append(text[start:])
    return found


def detected_language(text: str) -> str:
    """Tell Korean and English apart by their letters; "" for neither, or too few of either."""
    sample = text[:20_000]
    hangul = sum("\uac00" <= letter <= "\ud7a3" for letter in sample)
    latin = sum(letter.isascii() and letter.isalpha() for letter in sample)
    # A syllable says as much as two or three letters, and Korean texts are full of English names.
    if hangul * 5 > latin and hangul:
        return "ko"
    return "en" if latin > len(sample) / 3 else ""
