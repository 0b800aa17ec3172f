"""A question: what is sought."""

from __future__ import annotations

from attrs import frozen

from coe_retrieval.array import Vector


@frozen(eq=False)
class Question:
    """The terms of a question, and its vector where there is one."""

    terms: tuple[str, ...]
    vector: Vector | None = None
    unrelated: float = 0.0
    """The cosine of the question with texts that have nothing to do with it."""
