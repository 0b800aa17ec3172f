"""A question: what is sought."""

from __future__ import annotations

from typing import Self

from attrs import frozen

from coe_retrieval import term
from coe_retrieval.array import Vector
from coe_retrieval.period import Period
from coe_retrieval.term import Reading


@frozen(eq=False)
class Meaning:
    """What an embedder makes of a question."""

    vector: Vector
    unrelated: float
    """The cosine of the question with texts that have nothing to do with it."""


@frozen(eq=False)
class Question:
    """The terms of a question, and its meaning where it was embedded."""

    terms: tuple[str, ...]
    period: Period | None = None
    """When that was said which it asks about."""
    meaning: Meaning | None = None

    @classmethod
    def read(cls, text: str, reading: Reading = term.terms) -> Self:
        """Read a question; it has no meaning yet."""
        return cls(tuple(reading(text)), Period.named(text))
