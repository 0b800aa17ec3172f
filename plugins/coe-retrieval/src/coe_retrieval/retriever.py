"""The retriever: what the index has for a turn, and what stands beside it."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import evolve, frozen

from coe_core.knowledge import SearchQuery
from coe_core.service import KnowledgeStore
from coe_core.turn import Passage, Turn
from coe_retrieval.index import PassageIndex

BESIDE = 0.5
"""What a neighbour's score is of the hit's: it enters the prompt where there is room to spare."""


@frozen
class IndexRetriever:
    """A `Retriever` over the index."""

    index: PassageIndex
    store: KnowledgeStore
    name: str = "retrieval"

    async def retrieve(self, turn: Turn, layers: tuple[str, ...]) -> Sequence[Passage]:
        """Search for what the user says now; neighbours of the hits come behind them."""
        text = "\n".join(m.text for m in turn.session.new_messages if m.role == "user").strip()
        if not text:
            return []
        query = SearchQuery(
            text=text,
            layers=layers,
            global_topk=turn.params["global_topk"],
            group_topk=turn.params["group_topk"],
            session_topk=turn.params["session_topk"],
            min_score=turn.params["min_score"],
            session=turn.session.id,
        )
        hits = await self.index.search(query, parent=turn)
        return [*hits, *await self._beside(hits, layers, turn.params["neighbours"])]

    async def _beside(
        self, hits: Sequence[Passage], layers: tuple[str, ...], reach: int
    ) -> Sequence[Passage]:
        known = {hit.id for hit in hits}
        found = []
        for hit in hits if reach else ():
            if hit.kind != "document":
                continue
            first, last = hit.position - reach, hit.position + reach
            for passage in await self.store.neighbours(layers, hit.item, first, last):
                if passage.id not in known:
                    known.add(passage.id)
                    reason = f"beside {hit.id}"
                    found.append(evolve(passage, score=BESIDE * hit.score, reason=reason))
        return sorted(found, key=lambda passage: -passage.score)
