"""Embedding: questions as they are asked, passages in batches behind everybody's back."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import define, field
from loguru import logger

from coe_core.application import Application
from coe_core.error import CoeError, ContextTooLong
from coe_core.model import Vectors
from coe_core.payer import Payer
from coe_core.service import Embedder
from coe_retrieval.array import Rows
from coe_retrieval.question import Question
from coe_retrieval.term import terms

HEAD, TAIL = 1500, 500
"""Of a longer text, so many of its first and last characters are embedded: no embedder reads more
with profit, and a question stands before or after what it is about.
"""
BATCH = 16
"""Passages in one call: a question that comes meanwhile waits for no more than that."""
UNRELATED = (
    "The train to the coast leaves at nine.",
    "She painted the fence green.",
    "Add two eggs and stir slowly.",
    "The river froze in January.",
    "오늘은 하늘이 맑고 바람이 분다.",
    "아이가 마당에서 공을 찬다.",
    "국이 식기 전에 드세요.",
    "고양이가 창가에서 잠들었다.",
)
"""Texts that hardly any question is about: how near an embedder puts a question to these tells
what nearness means to it.
"""


@define(eq=False)
class Embedding:
    """The deployment's embedder, as the index uses it."""

    embedder: Embedder
    _unrelated: dict[str, Rows] = field(factory=dict, init=False)
    """By embedder, the vectors of `UNRELATED`."""

    async def question(self, text: str, parent: Payer) -> Question:
        """Read a question. Where it cannot be embedded, it has its words alone."""
        words = tuple(terms(text))
        from coe_retrieval.matrix import unit

        try:
            (vector,) = await self._rows([text], "query", parent)
            unrelated = await self._background(parent)
        except CoeError as error:
            logger.bind(code=error.code).warning("a question is sought by its words alone")
            return Question(words)
        return Question(words, vector, float((unrelated @ unit(vector)).mean()))

    async def passages(self, texts: Sequence[str], parent: Payer) -> Rows:
        """Embed passages, a row each."""
        return await self._rows(texts, "passage", parent)

    async def _background(self, parent: Payer) -> Rows:
        import numpy as np

        from coe_retrieval.matrix import unit

        name = embedder_name(parent.application)
        if name not in self._unrelated:
            rows = await self._rows(UNRELATED, "passage", parent)
            self._unrelated[name] = np.stack([unit(row) for row in rows])
        return self._unrelated[name]

    async def _rows(self, texts: Sequence[str], purpose: str, parent: Payer) -> Rows:
        """Embed, and cut what proves too long in half until it fits."""
        cut = [clipped(text) for text in texts]
        while True:
            try:
                vectors = await self.embedder.embed(cut, purpose=purpose, parent=parent)
            except ContextTooLong:
                if max(map(len, cut)) <= 1:
                    raise
                half = (max(map(len, cut)) + 1) // 2
                cut = [text[:half] for text in cut]
            else:
                return _array(vectors)


def embedder_name(application: Application) -> str:
    """Name the embedder in force, so that another model under the same alias is another."""
    model = application.models.get(application.settings.coe.embedder)
    return f"{model.provider}:{model.name}" if model is not None else ""


def clipped(text: str) -> str:
    """Cut the middle out of a long text."""
    return text if len(text) <= HEAD + TAIL else f"{text[:HEAD]}\n{text[-TAIL:]}"


def _array(vectors: Vectors) -> Rows:
    import numpy as np

    return np.frombuffer(vectors.data, "<f4").reshape(-1, vectors.dimensions)
