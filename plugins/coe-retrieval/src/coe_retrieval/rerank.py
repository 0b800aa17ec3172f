"""Reranking: a second look at what was found, by a `Reranker` that another plugin may bring."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from attrs import evolve, frozen
from loguru import logger

from coe_core.error import MissingService
from coe_core.knowledge import SearchQuery
from coe_core.patience import within
from coe_core.payer import Payer
from coe_core.turn import Passage


@frozen(kw_only=True)
class Reranking:
    """Who is asked, about how many passages of each layer, and for how long."""

    name: str
    topk: int
    limit_s: float

    def widened(self, query: SearchQuery) -> SearchQuery:
        """Return the query that finds what the reranker is shown."""
        return evolve(
            query,
            global_topk=query.global_topk and max(query.global_topk, self.topk),
            group_topk=query.group_topk and max(query.group_topk, self.topk),
            session_topk=query.session_topk and max(query.session_topk, self.topk),
            min_score=0.0,
        )

    async def best(
        self, query: SearchQuery, found: Sequence[Passage], now: datetime, parent: Payer
    ) -> Sequence[Passage]:
        """Choose what is asked for by the reranker's scores; by those of the search where it fails
        or takes too long, and the passages say so.
        """
        try:
            work = self._reranked(query.text, found, parent)
            reranked = await within(self.limit_s, self.name, work)
        except Exception as error:
            logger.bind(reranker=self.name).opt(exception=error).warning("nothing is reranked")
            note = f"not reranked: {self.name} {_failure(error)}"
            reranked = [evolve(p, reason=f"{p.reason}; {note}") for p in found]
        return query.best(reranked, now)

    async def _reranked(
        self, text: str, found: Sequence[Passage], parent: Payer
    ) -> Sequence[Passage]:
        for reranker in parent.application.rerankers:
            if reranker.name == self.name:
                break
        else:
            raise MissingService(f"[plugins.retrieval] names {self.name!r}, which is no reranker")
        scores = await reranker.rerank(text, [*found], parent=parent)
        if wrong := [score for score in scores if not 0 <= score <= 1]:
            raise ValueError(f"a score is not from 0 to 1: {wrong[0]}")
        return [
            evolve(passage, score=float(score), reason=f"{self.name} {score:.2f}; {passage.reason}")
            for passage, score in zip(found, scores, strict=True)
        ]


def _failure(error: Exception) -> str:
    """Say in the record what happened: what others raise may say anything of us."""
    match error:
        case TimeoutError():
            return "took too long"
        case MissingService():
            return "is not there"
        case _:
            return "failed"
