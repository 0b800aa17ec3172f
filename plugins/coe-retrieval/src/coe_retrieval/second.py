"""A second embedder: a bundled reranker that asks another model what it makes of what was found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from attrs import define, field

from coe_core.error import MissingModel, UpstreamError
from coe_core.payer import Payer
from coe_core.turn import Passage
from coe_retrieval.array import Rows, Vector
from coe_retrieval.content import content
from coe_retrieval.embedding import Embedding, embedders

if TYPE_CHECKING:
    from coe_core.application import Application

KEPT = 10_000
"""Vectors that are remembered, the latest: about 20 MB. What is found is found again."""


@define(eq=False)
class SecondEmbedder:
    """A `Reranker`. Earlier turns keep the search's scores: another embedder does them harm."""

    embedding: Embedding
    alias: str
    """The model."""
    share: float
    """How much of a score is its own; the rest is the search's."""
    name: str = "second-embedder"
    _vectors: dict[tuple[str, str], Vector] = field(factory=dict, init=False)
    """Embedder and content to the unit vector."""

    async def rerank(
        self, text: str, passages: Sequence[Passage], *, parent: Payer
    ) -> Sequence[float]:
        """Score passages. Raises what the embedder does."""
        scores = [min(max(passage.score, 0.0), 1.0) for passage in passages]
        written = [number for number, p in enumerate(passages) if p.kind != "turn"]
        if not written:
            return scores
        from coe_retrieval.fusion import nearness
        from coe_retrieval.matrix import cosines, unit

        embedder = self._embedder(parent.application)
        question = await self.embedding.question(text, embedder, parent)
        if question is None:
            raise UpstreamError(f"{self.alias} did not read the question")
        contents = [content(passages[number]) for number in written]
        rows = await self._rows(contents, embedder, parent)
        near = nearness(cosines(rows, unit(question.vector)), question.unrelated).tolist()
        for number, nearness_of in zip(written, near, strict=True):
            scores[number] = (1 - self.share) * scores[number] + self.share * nearness_of
        return scores

    def _embedder(self, application: Application) -> str:
        for name, alias in embedders(application).items():
            if alias == self.alias:
                return name
        raise MissingModel(f"{self.alias!r} is no embedder of this deployment")

    async def _rows(self, contents: Sequence[str], embedder: str, parent: Payer) -> Rows:
        import numpy as np

        from coe_retrieval.matrix import unit

        known = {text: self._vectors.get((embedder, text)) for text in contents}
        if lacking := [text for text, vector in known.items() if vector is None]:
            rows = await self.embedding.passages(lacking, embedder, parent)
            known |= {text: unit(row) for text, row in zip(lacking, rows, strict=True)}
        for text, vector in known.items():
            if vector is not None:
                self._vectors.pop((embedder, text), None)
                self._vectors[embedder, text] = vector
        while len(self._vectors) > KEPT:
            del self._vectors[next(iter(self._vectors))]
        return np.stack([self._vectors[embedder, text] for text in contents])
