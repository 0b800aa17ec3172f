"""The seam between what was said and what another model goes on with.

Models that are asked to go on often begin a little before the place: with the sentence in which
they were cut, or with the whole answer. What they repeat is taken out, at the seam only. A text
may also repeat itself, so there must be evidence: it is as long as nobody repeats by chance, or
it begins where a sentence does and ends in the midst of it, as the text did. Who doubles the first
word of a sentence, and is cut right between the two, loses one of them.
"""

from __future__ import annotations

import re

from attrs import define, field

WINDOW = 2000
"""How far before the seam a repetition may begin, unless it is of everything that was said."""
ENOUGH = 20
"""So many letters are no chance; of scripts that write syllables or words, half as many."""
SENTENCE_START = re.compile(r"(?:^|[.!?:;。！？…]\s+|\n\s*|[。！？])\Z")  # noqa: RUF001
SENTENCE_END = re.compile(r"(?:(?<!\d)[.!?。！？…]\s*|\n\s*)\Z")  # noqa: RUF001
IDEOGRAPHS = "\u2e80"


@define
class Overlap:
    """A `Seam` that takes out of a continuation what it repeats of the end of `said`."""

    said: str
    _kept: str = field(default="", init=False)
    _joined: bool = field(default=False, init=False)

    def add(self, text: str) -> str:
        """Take in a piece; as long as all of it may be a repetition, nothing is returned."""
        if self._joined:
            return text
        self._kept += text
        begun = self._kept.lstrip()
        if not begun or begun in self.said[-WINDOW:-1] or self.said[:-1].startswith(begun):
            return ""
        return self.rest()

    def rest(self) -> str:
        """Return what was kept, without the repetition."""
        if self._joined:
            return ""
        self._joined = True
        begun = self._kept.lstrip()
        if repeated := self._repeated(begun):
            return begun[repeated:]
        blanks = self._kept[: len(self._kept) - len(begun)]
        while not self.said.endswith(blanks):
            blanks = blanks[:-1]
        return self._kept[len(blanks) :]

    def _repeated(self, begun: str) -> int:
        """Count the letters that the beginning repeats."""
        if begun.startswith(self.said) and _is_no_chance(self.said, ""):
            return len(self.said)
        for length in range(min(len(begun), len(self.said), WINDOW), 0, -1):
            piece = begun[:length]
            if self.said.endswith(piece) and _is_no_chance(piece, self.said[:-length]):
                return length
        return 0


def _is_no_chance(piece: str, before: str) -> bool:
    """Whether a piece that was said, after `before`, and comes again, is a repetition to drop."""
    if before.endswith(piece) or piece in (piece + piece)[1:-1]:
        return False  # the text's own habit: a refrain, a row of zeros
    if not before:
        return True  # it begins anew
    letters = sum(1 + (letter >= IDEOGRAPHS) for letter in piece if not letter.isspace())
    if letters >= ENOUGH:
        return True
    return not SENTENCE_END.search(piece) and bool(SENTENCE_START.search(before))
