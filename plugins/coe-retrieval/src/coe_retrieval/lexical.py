"""Lexical search: BM25 over an inverted index that grows with every passage.

The formula is that of Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and
Beyond" (2009), divided by the most that a text could have for the question: 1 is a text that has
all of its terms many times over, so scores of several indexes can be compared.

A turn of a conversation is read together with those around it: each counts its neighbours' terms
as well, less with every step (`Kernel`).
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from attrs import define, field
from numpy.typing import NDArray

from coe_retrieval.array import Scores

Kernel: TypeAlias = tuple[float, ...]
"""What a term counts in the text itself, then in its neighbours one step away, two, ..."""

ALONE: Kernel = (1.0,)

SATURATION, LENGTH = 1.2, 0.75
"""k1 and b of the formula, as its authors recommend them."""

NOBODY = -1
"""The neighbour of a text that has none."""


@define(eq=False)
class LexicalIndex:
    """The terms of numbered texts. Not to be used from two threads at once."""

    kernel: Kernel = ALONE
    _postings: dict[str, tuple[array[int], array[int]]] = field(factory=dict, init=False)
    """Term to the numbers of the texts that have it, and how often each does."""
    _spread: Counter[str] = field(factory=Counter, init=False)
    """In how many of the texts that were not removed a term stands."""
    _lengths: array[int] = field(factory=lambda: array("I"), init=False)
    _before: array[int] = field(factory=lambda: array("i"), init=False)
    _after: array[int] = field(factory=lambda: array("i"), init=False)
    _size: int = field(default=0, init=False)
    _damping: Scores | None = field(default=None, init=False)
    """What the length of each text adds below the fraction; None when it is to be computed."""

    def __len__(self) -> int:
        """Count the texts that were not removed."""
        return self._size

    def add(self, terms: Sequence[str], *, behind: int = NOBODY) -> int:
        """Take in a text, and return its number: they count up from 0. `behind` is the number of
        the text that it follows.
        """
        number = len(self._lengths)
        self._lengths.append(len(terms))
        self._before.append(behind)
        self._after.append(NOBODY)
        if behind != NOBODY:
            self._after[behind] = number
        for term, times in Counter(terms).items():
            numbers, counts = self._postings.setdefault(term, (array("I"), array("H")))
            numbers.append(number)
            counts.append(min(times, 0xFFFF))
            self._spread[term] += 1
        self._size += 1
        self._damping = None
        return number

    def before(self, number: int) -> int:
        """Return the number of the text that a text follows; NOBODY for none."""
        return self._before[number]

    def remove(self, number: int, terms: Sequence[str]) -> None:
        """Forget a text, which had these terms. Its number is not given to another."""
        for term in set(terms):
            self._spread[term] -= 1
        before, after = self._before[number], self._after[number]
        if before != NOBODY:
            self._after[before] = after
        if after != NOBODY:
            self._before[after] = before
        self._before[number] = self._after[number] = NOBODY
        self._lengths[number] = 0
        self._size -= 1
        self._damping = None

    def scores(self, terms: Sequence[str]) -> Scores:
        """Score every text. Those that were removed have a score too, which means nothing."""
        found = np.zeros(len(self._lengths), np.float32)
        if not self._size:
            return found
        most, damping = 0.0, self._damp()
        for term in dict.fromkeys(terms):
            rarity = self._rarity(term)
            most += rarity * (SATURATION + 1)
            if term not in self._postings:
                continue
            numbers, counts = self._counts(term)
            found[numbers] += rarity * (SATURATION + 1) * counts / (counts + damping[numbers])
        return found / np.float32(most or 1.0)

    def _rarity(self, term: str) -> float:
        spread = self._spread[term]
        return float(np.log1p((self._size - spread + 0.5) / (spread + 0.5)))

    def _counts(self, term: str) -> tuple[Any, Scores]:
        """Return the numbers of the texts that have the term, and how often, by the kernel."""
        numbers, counts = self._postings[term]
        at, times = np.array(numbers, np.int64), np.array(counts, np.float32)
        if len(self.kernel) == 1:
            return at, times
        whole = self._spread_out(np.bincount(at, times, len(self._lengths)))
        touched = np.flatnonzero(whole)
        return touched, whole[touched]

    def _damp(self) -> Scores:
        if self._damping is None:
            lengths = self._spread_out(np.array(self._lengths, np.float32))
            mean = float(lengths.sum()) / self._size or 1.0
            self._damping = (SATURATION * (1 - LENGTH + LENGTH * lengths / mean)).astype(np.float32)
        return self._damping

    def _spread_out(self, values: NDArray[Any]) -> Scores:
        """Add up each text's value and its neighbours', by the kernel."""
        total = self.kernel[0] * values
        for neighbours in (self._before, self._after):
            step = np.frombuffer(neighbours, "i4")
            reached = np.arange(len(values))
            for weight in self.kernel[1:]:
                reached = np.append(step, NOBODY)[reached]
                total = total + weight * np.append(values, 0.0)[reached]
        return total.astype(np.float32)
