"""What texts have in common letter by letter, beside what an embedder says of their meaning.

Hangul is taken apart into its letters and blanks are left out, so that a typo changes a few pieces
of a word and a missing blank none.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence

from attrs import frozen

from coe_routing.array import Array

SIZES = (3, 4, 5)
"""The lengths of pieces, in letters."""
LONGEST = 600
"""Of a longer text, this many letters count."""


def pieces(text: str) -> list[str]:
    """Return the pieces of a text, and its words marked by a blank."""
    plain = unicodedata.normalize("NFD", text.casefold()[:LONGEST])
    words = re.findall(r"\w+", plain)
    found = [f" {word}" for word in words]
    letters = "".join(words)
    for size in SIZES:
        found += [letters[at : at + size] for at in range(len(letters) - size + 1)]
    return found


@frozen(eq=False)
class Lexicon:
    """The pieces of some texts, each with the texts that have it and how much it weighs there."""

    size: int
    index: dict[str, int]
    """Piece to its number."""
    rarity: Array
    """By the piece's number."""
    starts: Array
    """Where a piece's texts begin in the two below, by its number; one more for the end."""
    numbers: Array
    """The numbers of the texts, piece by piece."""
    values: Array
    """The piece's weight in each: what belongs to one text is a unit vector."""

    @classmethod
    def of(cls, texts: Sequence[str]) -> Lexicon:
        """Learn the pieces of these texts."""
        import numpy as np

        found = [pieces(text) for text in texts]
        spread = Counter(piece for each in found for piece in dict.fromkeys(each))
        index = {piece: number for number, piece in enumerate(spread)}
        shared = np.fromiter(spread.values(), np.float64, len(spread))
        rarity = np.log((1 + len(texts)) / (1 + shared)) + 1
        weighed = [_weights(each, index, rarity) for each in found]
        lengths = [len(known) for known, _ in weighed]
        known = np.concatenate([np.empty(0, np.intp), *(known for known, _ in weighed)])
        values = np.concatenate([np.empty(0, np.float32), *(values for _, values in weighed)])
        numbers = np.repeat(np.arange(len(texts)), lengths)
        order = np.argsort(known, kind="stable")
        starts = np.concatenate([[0], np.cumsum(shared, dtype=np.intp)])
        return cls(len(texts), index, rarity, starts, numbers[order], values[order])

    def similarity(self, text: str) -> Array:
        """Return the cosine of the text with each of those learnt, 0 to 1; pieces that none of
        them has are left out.
        """
        import numpy as np

        known, own = _weights(pieces(text), self.index, self.rarity)
        starts = self.starts[known]
        lengths = self.starts[known + 1] - starts
        ends = np.cumsum(lengths)
        # The places of all the pieces' texts at once: to join a slice for each piece takes longer
        # than to add up what is in them.
        places = np.repeat(starts + lengths - ends, lengths) + np.arange(lengths.sum())
        products = np.repeat(own, lengths) * self.values[places]
        return np.bincount(self.numbers[places], products, self.size).astype(np.float32)


def _weights(found: Sequence[str], index: dict[str, int], rarity: Array) -> tuple[Array, Array]:
    """Return the numbers of the pieces that are known, and their weights, as a unit vector: rarity
    times the root of the count.
    """
    import numpy as np

    numbers = [number for number in map(index.get, found) if number is not None]
    known, count = np.unique(np.array(numbers, np.intp), return_counts=True)
    raw = np.sqrt(count) * rarity[known]
    return known, (raw / max(1e-9, float(raw @ raw) ** 0.5)).astype(np.float32)
