"""The vectors of a shelf's passages in memory.

Some thousands are compared one by one. More than that are arranged in cells around centres, as an
inverted file is, and of these the nearest are compared: Jégou, Douze, Schmid, "Product quantization
for nearest neighbor search" (2011), without the quantization.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
from attrs import define, field, frozen
from numpy.typing import NDArray

from coe_retrieval.array import Rows, Scores, Vector

EXACT_MOST = 20_000
"""Up to so many vectors all are compared: that takes a few milliseconds."""
STALE = 0.2
"""From which share of vectors outside the cells on they are arranged anew."""
SOUGHT = 0.12
"""Which share of the vectors in cells is compared; `bench/scale.py` shows what that misses."""
ROUNDS, SEED, CHUNK = 6, 1, 8192
PER_CELL = 32
"""How many vectors for each cell the centres are made of."""


@frozen(eq=False)
class Cells:
    """The centres of cells, and where in the rows each begins; the last one's end as well."""

    centres: Rows
    bounds: NDArray[np.int64]

    def near(self, vector: Vector) -> Iterator[slice]:
        """Yield where the rows of the nearest cells lie: `SOUGHT` of all, at least."""
        order = np.argsort(-cosines(self.centres, vector))
        reached = np.cumsum(np.diff(self.bounds)[order])
        enough = int(np.searchsorted(reached, SOUGHT * self.bounds[-1])) + 1
        for cell in order[:enough].tolist():
            yield slice(self.bounds[cell], self.bounds[cell + 1])


@define(eq=False)
class Matrix:
    """A unit vector for each number that has one; all of one length."""

    dimensions: int
    _rows: Rows = field(init=False)
    _numbers: NDArray[np.int64] = field(factory=lambda: np.zeros(0, np.int64), init=False)
    """Whose each row is."""
    _places: NDArray[np.int64] = field(factory=lambda: np.zeros(0, np.int64), init=False)
    """Number to its row; -1 for none."""
    _count: int = field(default=0, init=False)
    _cells: Cells | None = field(default=None, init=False)

    @_rows.default
    def _(self) -> Rows:
        return np.zeros((0, self.dimensions), np.float32)

    def put(self, number: int, vector: Vector) -> None:
        """Keep the vector of a number that has none, made a unit vector."""
        if number >= len(self._places):
            added = max(number + 1 - len(self._places), len(self._places), 64)
            self._places = np.concatenate([self._places, np.full(added, -1)])
        if self._count == len(self._numbers):
            added = max(len(self._numbers) // 4, 64)
            self._rows = np.concatenate([self._rows, np.zeros((added, self.dimensions), "f4")])
            self._numbers = np.concatenate([self._numbers, np.zeros(added, np.int64)])
        self._rows[self._count] = unit(vector)
        self._numbers[self._count] = number
        self._places[number] = self._count
        self._count += 1

    def similarity(self, vector: Vector, size: int, also: Sequence[int] = ()) -> Scores:
        """Return the cosine with the vector of each number below `size` that is near, and of those
        that are asked for `also`; NaN for what has no vector, and for what is far.
        """
        sought = unit(vector)
        found = np.full(max(size, len(self._places)), np.nan, np.float32)
        cells = self._cells
        parts = [*cells.near(sought)] if cells is not None else []
        outside = int(cells.bounds[-1]) if cells is not None else 0
        for part in [*parts, slice(outside, self._count)]:
            found[self._numbers[part]] = cosines(self._rows[part], sought)
        asked = np.asarray(also, np.int64)
        asked = asked[asked < len(self._places)]
        asked = asked[self._places[asked] >= 0]
        found[asked] = cosines(self._rows[self._places[asked]], sought)
        return found[:size]

    def vector(self, number: int) -> Vector | None:
        """Return the unit vector of a number, None where it has none."""
        place = int(self._places[number]) if number < len(self._places) else -1
        return self._rows[place] if place >= 0 else None

    @property
    def is_stale(self) -> bool:
        """Whether so much lies outside of cells that it is time to arrange them."""
        inside = int(self._cells.bounds[-1]) if self._cells is not None else 0
        return self._count > EXACT_MOST and self._count - inside > STALE * self._count

    def arranged(self) -> Matrix:
        """Return the same in cells. Seconds of work; meanwhile this one may be used and grow."""
        count, rows, numbers = self._count, self._rows, self._numbers
        centres = _centres(rows[:count])
        cell = _nearest(rows[:count], centres)
        order = np.argsort(cell, kind="stable")
        bounds = np.searchsorted(cell[order], np.arange(len(centres) + 1))
        made = Matrix(self.dimensions)
        made._rows, made._numbers = rows[order], numbers[order]
        made._count, made._cells = count, Cells(centres, bounds)
        made._places = np.full(int(np.max(numbers[:count])) + 1, -1)
        made._places[made._numbers] = np.arange(count)
        return made

    def rest(self, made: Matrix) -> Matrix:
        """Return what was arranged of this, with what has come meanwhile."""
        for row in range(made._count, self._count):
            made.put(int(self._numbers[row]), self._rows[row])
        return made


def _centres(rows: Rows) -> Rows:
    """Find centres by spherical k-means on a sample."""
    random = np.random.default_rng(SEED)
    count = int(len(rows) ** 0.5)
    drawn = random.choice(len(rows), min(len(rows), PER_CELL * count), replace=False)
    sample = rows[np.sort(drawn)]
    centres = sample[random.choice(len(sample), count, replace=False)]
    for _ in range(ROUNDS):
        cell = _nearest(sample, centres)
        order = np.argsort(cell, kind="stable")
        bounds = np.searchsorted(cell[order], np.arange(count + 1))
        for number, (first, end) in enumerate(pairwise(bounds.tolist())):
            if first < end:
                centres[number] = unit(sample[order[first:end]].sum(axis=0))
    return centres


def cosines(rows: Rows, vector: Vector) -> Scores:
    """Compare unit vectors, row by row. A product of the whole matrix is shared among OpenBLAS's
    threads, and who is done first spins until the others are: on busy cores that took twenty
    milliseconds instead of a fifth of one.
    """
    return np.asarray(np.vecdot(rows, vector), np.float32)


def _nearest(rows: Rows, centres: Rows) -> NDArray[np.int64]:
    """Return for each row the number of the centre that is nearest to it."""
    parts = [rows[at : at + CHUNK] @ centres.T for at in range(0, len(rows), CHUNK)]
    return np.concatenate([part.argmax(axis=1) for part in parts])


def unit(vector: Vector) -> Vector:
    """Return the vector at length 1; one of no length, or of numbers that are none, as zeros."""
    length = float(np.linalg.norm(vector))
    if not np.isfinite(length) or not length:
        return np.zeros_like(vector)
    return np.asarray(vector / np.float32(length), np.float32)
