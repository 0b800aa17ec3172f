"""A shelf: the passages of one layer, or its earlier turns, ready to be searched.

Nothing on it depends on another shelf, and no statistics are shared: what one group has changes no
score of another's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TypeAlias

import numpy as np
from attrs import define, evolve, field

from coe_core.turn import Passage
from coe_retrieval.array import Scores, Vector
from coe_retrieval.content import content, digest
from coe_retrieval.duplicate import Duplicates
from coe_retrieval.fusion import Fused, fuse
from coe_retrieval.lexical import ALONE, NOBODY, Kernel, LexicalIndex
from coe_retrieval.matrix import Matrix
from coe_retrieval.question import Question
from coe_retrieval.term import terms

CONVERSATION: Kernel = (1.0, 0.8, 0.6)
"""How far a turn is read together with those around it; `bench/retrieval.py` finds this reach best,
and the exact figures of no account.
"""

EXACT_MOST = 20_000
"""Up to so many passages the vectors are held in memory and compared one by one, in less time than
LanceDB needs to begin; those of a larger shelf stay on disk, behind an index.
"""

Admits: TypeAlias = Callable[[Passage], bool]
Near: TypeAlias = Mapping[str, float]
"""Digests of the contents nearest to a question, to their cosines."""


@define(eq=False)
class Shelf:
    """The passages of one layer. Not to be used from two threads at once."""

    of_turns: bool = False
    passages: list[Passage | None] = field(factory=list, init=False)
    """By number; None for one that was removed."""
    _numbers: dict[str, int] = field(factory=dict, init=False)
    _lexical: LexicalIndex = field(init=False)
    _matrix: Matrix | None = field(default=None, init=False)
    _duplicates: Duplicates = field(factory=Duplicates, init=False)
    _kept: dict[str, list[int]] = field(factory=dict, init=False)
    """On a large shelf, digests of contents whose vectors the vault has, to their numbers."""
    _pending: dict[int, str] = field(factory=dict, init=False)
    """Numbers without a vector, to the content that is to be embedded."""

    @_lexical.default
    def _(self) -> LexicalIndex:
        return LexicalIndex(CONVERSATION if self.of_turns else ALONE)

    def __len__(self) -> int:
        """Count the passages."""
        return len(self._numbers)

    @property
    def is_large(self) -> bool:
        """Whether its vectors are left in the vault."""
        return len(self.passages) > EXACT_MOST

    @property
    def has_vectors(self) -> bool:
        """Whether some passage can be found by its meaning."""
        return self._matrix is not None or bool(self._kept)

    @property
    def pending(self) -> Mapping[int, str]:
        """What has no vector yet: numbers and contents."""
        return self._pending

    def put(self, passage: Passage, *, behind: str = "") -> None:
        """Take in a passage, in the place of the one with its id; in a conversation, behind the
        one with another.
        """
        if (number := self._numbers.get(passage.id)) is not None:
            if self.passages[number] == passage:
                return
            self.remove(passage.id)
        before = self._numbers.get(behind, NOBODY)
        text = content(passage)
        number = self._lexical.add(terms(text), behind=before)
        self.passages.append(passage)
        self._numbers[passage.id] = number
        self._pending[number] = text
        if not self.of_turns:
            self._duplicates.add(number, passage.text)

    def remove(self, passage_id: str) -> None:
        """Forget a passage; nothing happens where there is none."""
        if (number := self._numbers.pop(passage_id, None)) is None:
            return
        passage = self.passages[number]
        if passage is not None:
            self._lexical.remove(number, terms(content(passage)))
        self.passages[number] = None
        self._pending.pop(number, None)
        self._duplicates.remove(number)

    def keep(self, vectors: Mapping[str, Vector]) -> None:
        """Give vectors, by the digests of their contents, to the passages that lack them."""
        if self.is_large and self._matrix is not None:
            self.forget_vectors()
        for number, text in list(self._pending.items()):
            key = digest(text)
            if (vector := vectors.get(key)) is None:
                continue
            if self.is_large:
                self._kept.setdefault(key, []).append(number)
            else:
                self._matrix_of(len(vector)).put(number, vector)
            self._pending.pop(number, None)

    def forget_vectors(self) -> None:
        """Have everything looked up in the vault again, or embedded."""
        self._matrix = None
        self._kept.clear()
        self._pending = {n: content(p) for n, p in enumerate(self.passages) if p is not None}

    def search(
        self, question: Question, admits: Admits, near: Near | None = None
    ) -> Iterator[Passage]:
        """Yield passages, best first, with score and reason; of near duplicates the best alone.

        For a large shelf the vault says what is `near`.
        """
        fused = self._scores(question, near)
        shown: set[int] = set()
        for number in _descending(fused.scores):
            passage = self.passages[number]
            if passage is None or not admits(passage):
                continue
            if (first := self._duplicates.first(number)) in shown:
                continue
            shown.add(first)
            score = float(fused.scores[number])
            yield evolve(passage, score=score, reason=_reason(fused, number))

    def _scores(self, question: Question, near: Near | None) -> Fused:
        lexical = self._lexical.scores(question.terms)
        vector, matrix = question.vector, self._matrix
        if near:
            return fuse(lexical, self._spread(near), question.unrelated)
        if vector is None or matrix is None or matrix.dimensions != len(vector):
            return fuse(lexical, None, question.unrelated)
        return fuse(lexical, matrix.similarity(vector, len(lexical)), question.unrelated)

    def _spread(self, near: Near) -> Scores:
        """Give each passage its cosine: those that are not near are at most as near as the last
        that is, and nothing else is known of them.
        """
        similarity = np.full(len(self.passages), min(near.values()), np.float32)
        similarity[list(self._pending)] = np.nan
        for key, cosine in near.items():
            similarity[self._kept.get(key, [])] = cosine
        return similarity

    def _matrix_of(self, dimensions: int) -> Matrix:
        """Return the matrix; vectors of another length are of another embedder, and forgotten."""
        if self._matrix is None or self._matrix.dimensions != dimensions:
            self.forget_vectors()
            self._matrix = Matrix(dimensions)
        return self._matrix


def _descending(scores: np.ndarray[tuple[int], np.dtype[np.float32]]) -> Iterator[int]:
    """Yield the numbers with a score above 0, best first; the first few without sorting all."""
    found = np.flatnonzero(scores > 0)
    first = 256
    if len(found) > first:
        split = np.argpartition(-scores[found], first)
        head, rest = found[split[:first]], found[split[first:]]
        yield from head[np.argsort(-scores[head], kind="stable")].tolist()
        found = rest
    yield from found[np.argsort(-scores[found], kind="stable")].tolist()


def _reason(fused: Fused, number: int) -> str:
    words, meaning = float(fused.lexical[number]), float(fused.dense[number])
    parts = [f"words {words:.2f}"] if words else []
    parts += [f"meaning {meaning:.2f}"] if meaning else []
    return ", ".join(parts)
