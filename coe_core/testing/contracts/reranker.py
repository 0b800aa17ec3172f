"""The laws of rerankers."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from hypothesis import strategies as st

from coe_core.contract import Reranker
from coe_core.testing.contracts.component import (
    ComponentContract,
    survives_cancellation,
    untouched,
)
from coe_core.testing.contracts.law import law
from coe_core.testing.strategies import passages, texts
from coe_core.testing.turn import make_turn, scripted_application
from coe_core.turn import Passage

FOUND = st.lists(passages(), max_size=5, unique_by=lambda passage: passage.id)


class RerankerContract(ComponentContract[Reranker]):
    """What holds of every reranker."""

    contract = Reranker

    @law(text=texts(), found=FOUND)
    async def test_scores_each_passage(
        self, reranker: Reranker, text: str, found: list[Passage]
    ) -> None:
        """There is a score from 0 to 1 for each passage, in their order; [] for none."""
        scores = await self.scores(reranker, text, found)
        wrong = [score for score in scores if not isinstance(score, float | int)]
        assert not wrong, f"rerank() returned {wrong[:1]!r}; return a number for each passage"
        assert len(scores) == len(found), (
            f"of {len(found)} passages {len(scores)} have a score; those that do not answer the "
            "question have one too, 0"
        )
        outside = [score for score in scores if not 0 <= score <= 1]
        assert not outside, (
            f"a score is {outside[0]}; `min_score` and other retrievers' passages are compared "
            "with it: bring it between 0 and 1, a logit by the logistic function"
        )

    @law(text=texts(), found=FOUND)
    async def test_leaves_the_passages_alone(
        self, reranker: Reranker, text: str, found: list[Passage]
    ) -> None:
        """Passages are read; whoever asked puts them in order."""
        with untouched(found):
            await self.scores(reranker, text, found)

    @law(asked=st.lists(st.tuples(texts(), FOUND), min_size=2, max_size=3))
    async def test_scores_for_many_at_once(
        self, reranker: Reranker, asked: list[tuple[str, list[Passage]]]
    ) -> None:
        """Scores do not depend on what else is asked at the time."""
        together = await asyncio.gather(*(self.scores(reranker, *each) for each in asked))
        alone = [await self.scores(reranker, *each) for each in asked]
        assert [[*scores] for scores in together] == [[*scores] for scores in alone], (
            f"at once it returned {together}, one by one {alone}"
        )

    @law(text=texts(), found=FOUND, steps=st.integers(0, 3))
    async def test_lets_itself_be_cancelled(
        self, reranker: Reranker, text: str, found: list[Passage], steps: int
    ) -> None:
        """A search that has no time left cancels it."""
        await survives_cancellation(self.scores(reranker, text, found), steps)

    async def scores(self, reranker: Reranker, text: str, found: list[Passage]) -> Sequence[float]:
        """Ask; the models are those of `coe_core.testing.ScriptedProvider`."""
        parent = make_turn(application=scripted_application())
        return await reranker.rerank(text, found, parent=parent)
