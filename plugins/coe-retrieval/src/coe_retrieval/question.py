"""A question: what is sought."""

from __future__ import annotations

from typing import Self

from attrs import frozen

from coe_retrieval import term
from coe_retrieval.array import Vector
from coe_retrieval.period import Period
from coe_retrieval.term import Reading


@frozen(eq=False)
class Question:
    """The terms of a question, and its vector where there is one."""

    terms: tuple[str, ...]
    vector: Vector | None = None
    unrelated: float = 0.0
    """The cosine of the question with texts that have nothing to do with it."""
    period: Period | None = None
    """When that was said which it asks about."""

    @classmethod
    def read(cls, text: str, reading: Reading = term.terms) -> Self:
        """Read a question; it has no vector yet."""
        return cls(tuple(reading(text)), period=Period.named(text))
