"""The vectors of a shelf's passages in memory, for exact search."""

from __future__ import annotations

import numpy as np
from attrs import define, field
from numpy.typing import NDArray

from coe_retrieval.array import Rows, Scores, Vector


@define(eq=False)
class Matrix:
    """A unit vector for each number that has one; all of one length."""

    dimensions: int
    _rows: Rows = field(init=False)
    _known: NDArray[np.bool_] = field(factory=lambda: np.zeros(0, np.bool_), init=False)

    @_rows.default
    def _(self) -> Rows:
        return np.zeros((0, self.dimensions), np.float32)

    def put(self, number: int, vector: Vector) -> None:
        """Keep a vector, made a unit vector."""
        if number >= len(self._known):
            self._grow(max(number + 1, 2 * len(self._known), 64))
        self._rows[number] = unit(vector)
        self._known[number] = True

    def knows(self, number: int) -> bool:
        """Whether the number has a vector."""
        return number < len(self._known) and bool(self._known[number])

    def similarity(self, vector: Vector, size: int) -> Scores:
        """Return the cosine of each number below `size` with the vector, NaN where it has none."""
        found = np.full(size, np.nan, np.float32)
        count = min(size, len(self._known))
        cosines = self._rows[:count] @ unit(vector)
        found[:count] = np.where(self._known[:count], cosines, np.nan)
        return found

    def _grow(self, size: int) -> None:
        added = size - len(self._known)
        self._rows = np.concatenate([self._rows, np.zeros((added, self.dimensions), np.float32)])
        self._known = np.concatenate([self._known, np.zeros(added, np.bool_)])


def unit(vector: Vector) -> Vector:
    """Return the vector at length 1; one of no length, or of numbers that are none, as zeros."""
    length = float(np.linalg.norm(vector))
    if not np.isfinite(length) or not length:
        return np.zeros_like(vector)
    return np.asarray(vector / np.float32(length), np.float32)
