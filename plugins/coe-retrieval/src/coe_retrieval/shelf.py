"""A shelf: the passages of one layer, or its earlier turns, ready to be searched.

Nothing on it depends on another shelf, and no statistics are shared: what one group has changes no
score of another's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import date
from itertools import islice
from typing import TypeAlias

import numpy as np
from attrs import define, evolve, field

from coe_core.turn import Passage
from coe_retrieval.array import Vector
from coe_retrieval.content import content, digest, meant
from coe_retrieval.duplicate import Duplicates
from coe_retrieval.fusion import APART, JOINT, Fused, fuse
from coe_retrieval.lexical import ALONE, NOBODY, Kernel, LexicalIndex
from coe_retrieval.matrix import Matrix
from coe_retrieval.period import Calendar
from coe_retrieval.question import Question
from coe_retrieval.speaker import Speakers
from coe_retrieval.term import Reading, terms

CONVERSATION: Kernel = (1.0, 0.8, 0.6)
"""How far a turn is read together with those around it; `bench/retrieval.py` finds this reach best,
and the exact figures of no account.
"""

BY_WORDS = 256
"""The meaning of so many passages that are found by their words is looked at, near or not."""

FORGETS = 1000
"""So many removed passages are remembered at least: their numbers are not given to others."""

Admits: TypeAlias = Callable[[Passage], bool]


@define(eq=False)
class Shelf:
    """The passages of one layer. Not to be used from two threads at once."""

    of_turns: bool = False
    reading: Reading = terms
    embedder: str = field(default="", init=False)
    """Whose vectors it has."""
    passages: list[Passage | None] = field(factory=list, init=False)
    """By number; None for one that was removed."""
    _numbers: dict[str, int] = field(factory=dict, init=False)
    _lexical: LexicalIndex = field(init=False)
    _matrix: Matrix | None = field(default=None, init=False)
    _duplicates: Duplicates = field(factory=Duplicates, init=False)
    _speakers: Speakers = field(factory=Speakers, init=False)
    """Of turns, as the next."""
    _calendar: Calendar = field(factory=Calendar, init=False)
    _pending: dict[int, str] = field(factory=dict, init=False)
    """Numbers without a vector, to the content that is to be embedded."""

    @_lexical.default
    def _(self) -> LexicalIndex:
        return LexicalIndex(CONVERSATION if self.of_turns else ALONE)

    def __len__(self) -> int:
        """Count the passages."""
        return len(self._numbers)

    @property
    def has_vectors(self) -> bool:
        """Whether some passage can be found by its meaning."""
        return self._matrix is not None

    @property
    def contents(self) -> Mapping[str, str]:
        """What is to be embedded of the passages, by its digest."""
        return {digest(text): text for text in self._meant().values()}

    @property
    def pending(self) -> Mapping[int, str]:
        """What has no vector yet: numbers and contents."""
        return self._pending

    def put(self, passage: Passage, *, behind: str = "", on: date | None = None) -> None:
        """Take in a passage, in the place of the one with its id; in a conversation, behind the
        one with another, said on that day.
        """
        if (number := self._numbers.get(passage.id)) is not None:
            if self.passages[number] == passage:
                return
            self.remove(passage.id)
        before = self._numbers.get(behind, NOBODY)
        number = self._lexical.add(self.reading(content(passage)), behind=before)
        self.passages.append(passage)
        self._numbers[passage.id] = number
        self._pending[number] = self._meaning(number, passage)
        if self.of_turns:
            self._speakers.add(passage.title, number)
            if on is not None:
                self._calendar.add(on, number)
        else:
            self._duplicates.add(number, passage.text)

    def remove(self, passage_id: str) -> None:
        """Forget a passage; nothing happens where there is none."""
        if (number := self._numbers.pop(passage_id, None)) is None:
            return
        passage = self.passages[number]
        if passage is not None:
            self._lexical.remove(number, self.reading(content(passage)))
        self.passages[number] = None
        self._pending.pop(number, None)
        self._duplicates.remove(number)

    def keep(self, vectors: Mapping[str, Vector]) -> None:
        """Give vectors, by the digests of their contents, to the passages that lack them."""
        for number, text in list(self._pending.items()):
            if (vector := vectors.get(digest(text))) is not None:
                self._matrix_of(len(vector)).put(number, vector)
                self._pending.pop(number, None)

    @property
    def stale(self) -> Matrix | None:
        """The vectors, when they are to be arranged anew."""
        matrix = self._matrix  # Another thread may take it away meanwhile.
        return matrix if matrix is not None and matrix.is_stale else None

    def arrange(self, stale: Matrix, arranged: Matrix) -> None:
        """Take the vectors as they were arranged, unless they have become others."""
        if self._matrix is stale:
            self._matrix = stale.rest(arranged)

    def exchange(self, embedder: str, vectors: Mapping[str, Vector]) -> None:
        """Take the vectors of another embedder in the place of those that are there."""
        self.embedder = embedder
        self.forget_vectors()
        self.keep(vectors)

    def forget_vectors(self) -> None:
        """Have everything looked up in the vault again, or embedded."""
        self._matrix = None
        self._pending = self._meant()

    def search(self, question: Question, admits: Admits) -> Iterator[Passage]:
        """Yield passages, best first, with score and reason; of near duplicates the best alone."""
        fused = self._scores(question)
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

    @property
    def is_worn(self) -> bool:
        """Whether most of what it remembers is of passages that were removed."""
        return not self.of_turns and len(self.passages) > 2 * len(self) + FORGETS

    def renewed(self) -> Shelf:
        """Return one without what was removed, with the same vectors."""
        fresh = Shelf(self.of_turns, self.reading)
        fresh.embedder = self.embedder
        if self._matrix is not None:
            fresh._matrix = Matrix(self._matrix.dimensions)
        for number, passage in enumerate(self.passages):
            if passage is None:
                continue
            fresh.put(passage)
            vector = self._matrix.vector(number) if self._matrix is not None else None
            if fresh._matrix is not None and vector is not None:
                own = fresh._numbers[passage.id]
                fresh._matrix.put(own, vector)
                fresh._pending.pop(own)
        return fresh

    def _meant(self) -> dict[int, str]:
        """Return what is to be embedded, by number."""
        every = enumerate(self.passages)
        return {number: self._meaning(number, p) for number, p in every if p is not None}

    def _meaning(self, number: int, passage: Passage) -> str:
        before = self._lexical.before(number)
        return meant(passage, None if before == NOBODY else self.passages[before])

    def _scores(self, question: Question) -> Fused:
        lexical = self._lexical.scores(question.terms)
        meaning, matrix, similarity, unrelated = question.meaning, self._matrix, None, 0.0
        if meaning and matrix is not None and matrix.dimensions == len(meaning.vector):
            named = list(islice(_descending(lexical), BY_WORDS))
            similarity = matrix.similarity(meaning.vector, len(lexical), named)
            unrelated = meaning.unrelated
        overlap = APART if self.of_turns else JOINT  # A turn's words are its neighbours' as well.
        fused = fuse(lexical, similarity, unrelated, overlap)
        favoured = self._speakers.favour(fused.scores, question.terms)
        return evolve(fused, scores=self._calendar.favour(favoured, question.period))

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
