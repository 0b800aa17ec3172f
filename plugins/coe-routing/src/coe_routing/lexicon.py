"""What texts have in common letter by letter, beside what an embedder says of their meaning.

Hangul is taken apart into its letters and blanks are left out, so that a typo changes a few pieces
of a word and a missing blank none.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence

from attrs import frozen

from coe_routing.array import Array

SIZES = (3, 4, 5)
"""The lengths of pieces, in letters."""
LONGEST = 600
"""Of a longer text, this many letters count."""


def pieces(text: str) -> Iterator[str]:
    """Yield the pieces of a text, and its words marked by a blank."""
    plain = unicodedata.normalize("NFD", text.casefold()[:LONGEST])
    words = re.findall(r"\w+", plain)
    yield from (f" {word}" for word in words)
    letters = "".join(words)
    for size in SIZES:
        yield from (letters[at : at + size] for at in range(len(letters) - size + 1))


@frozen(eq=False)
class Lexicon:
    """The pieces of some texts, each with the texts that have it and how much it weighs there."""

    size: int
    postings: dict[str, tuple[Array, Array]]
    """Piece to the numbers of its texts and its weights in them: rows are unit vectors."""
    rarity: dict[str, float]

    @classmethod
    def of(cls, texts: Sequence[str]) -> Lexicon:
        """Learn the pieces of these texts."""
        import numpy as np

        counted = [Counter(pieces(text)) for text in texts]
        spread = Counter(piece for counts in counted for piece in counts)
        rarity = {p: float(np.log((1 + len(texts)) / (1 + n)) + 1) for p, n in spread.items()}
        found: dict[str, tuple[list[int], list[float]]] = {piece: ([], []) for piece in rarity}
        for number, counts in enumerate(counted):
            weights = _weights(counts, rarity)
            for piece, weight in weights.items():
                found[piece][0].append(number)
                found[piece][1].append(weight)
        postings = {
            piece: (np.array(numbers, np.intp), np.array(weights, np.float32))
            for piece, (numbers, weights) in found.items()
        }
        return cls(len(texts), postings, rarity)

    def similarity(self, text: str) -> Array:
        """Return the cosine of the text with each of those learnt, 0 to 1; pieces that none of
        them has are left out.
        """
        import numpy as np

        weights = _weights(Counter(pieces(text)), self.rarity)
        if not weights:
            return np.zeros(self.size, np.float32)
        hits = [self.postings[piece] for piece in weights]
        numbers = np.concatenate([numbers for numbers, _ in hits])
        lengths = np.fromiter((len(numbers) for numbers, _ in hits), np.intp, len(hits))
        own = np.repeat(np.fromiter(weights.values(), np.float32, len(weights)), lengths)
        products = own * np.concatenate([values for _, values in hits])
        return np.bincount(numbers, products, self.size).astype(np.float32)


def _weights(counts: Counter[str], rarity: dict[str, float]) -> dict[str, float]:
    """Weigh the pieces that are known, as a unit vector: rarity times the root of the count."""
    raw = {p: n**0.5 * rarity[p] for p, n in counts.items() if p in rarity}
    length = sum(weight * weight for weight in raw.values()) ** 0.5
    return {piece: weight / length for piece, weight in raw.items()}
