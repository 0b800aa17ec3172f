"""Embedding: questions as they are asked, passages in batches behind everybody's back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attrs import define, field
from loguru import logger

from coe_core.application import Application
from coe_core.error import CoeError, ContextTooLong, MissingModel
from coe_core.model import Vectors
from coe_core.payer import Payer
from coe_core.service import Embedder
from coe_retrieval.array import Rows
from coe_retrieval.question import Meaning

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

    async def question(self, text: str, embedder: str, parent: Payer) -> Meaning | None:
        """Embed a question by the embedder of that name; None where it cannot be embedded."""
        from coe_retrieval.matrix import unit

        try:
            alias = _alias(parent.application, embedder)
            (vector,) = await self._rows([text], "query", parent, alias)
            unrelated = await self._background(embedder, alias, parent)
        except CoeError as error:
            logger.bind(code=error.code).warning("a question is sought by its words alone")
            return None
        return Meaning(vector, float((unrelated @ unit(vector)).mean()))

    async def passages(self, texts: Sequence[str], embedder: str, parent: Payer) -> Rows:
        """Embed passages by the embedder of that name, a row each. Raises `MissingModel` where the
        application has it no more, or not yet.
        """
        return await self._rows(texts, "passage", parent, _alias(parent.application, embedder))

    async def _background(self, name: str, alias: str, parent: Payer) -> Rows:
        import numpy as np

        from coe_retrieval.matrix import unit

        if name not in self._unrelated:
            rows = await self._rows(UNRELATED, "passage", parent, alias)
            self._unrelated[name] = np.stack([unit(row) for row in rows])
        return self._unrelated[name]

    async def _rows(self, texts: Sequence[str], purpose: str, parent: Payer, alias: str) -> Rows:
        """Embed, and cut what proves too long in half until it fits."""
        cut = [clipped(text) for text in texts]
        while True:
            try:
                vectors = await self.embedder.embed(
                    cut, purpose=purpose, parent=parent, model=alias
                )
            except ContextTooLong:
                if max(map(len, cut)) <= 1:
                    raise
                half = (max(map(len, cut)) + 1) // 2
                cut = [text[:half] for text in cut]
            else:
                return _array(vectors)


def embedders(application: Application) -> Mapping[str, str]:
    """Return the names of what embeds here, and the alias of each: first of the embedder in force,
    "" where there is none. Another model under the same alias has another name.
    """
    chosen = application.settings.coe.embedder
    named = {
        f"{model.provider}:{model.name}": alias
        for alias, model in application.models.items()
        if model.capability == "embedding" or alias == chosen
    }
    first = next((name for name, alias in named.items() if alias == chosen), "")
    return {first: chosen} | {name: alias for name, alias in named.items() if name != first}


def _alias(application: Application, embedder: str) -> str:
    if (alias := embedders(application).get(embedder)) is None:
        raise MissingModel(f"the embedder {embedder!r} is no model of this deployment")
    return alias


def clipped(text: str) -> str:
    """Cut the middle out of a long text."""
    return text if len(text) <= HEAD + TAIL else f"{text[:HEAD]}\n{text[-TAIL:]}"


def _array(vectors: Vectors) -> Rows:
    import numpy as np

    return np.frombuffer(vectors.data, "<f4").reshape(-1, vectors.dimensions)
