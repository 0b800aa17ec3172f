"""How far the index is behind."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import frozen

from coe_core.contract import Sample
from coe_core.service import Clock
from coe_retrieval.index import PassageIndex


@frozen
class IndexMonitor:
    """Counts passages, those that wait for a vector, and how long the first of them has."""

    index: PassageIndex
    clock: Clock
    name: str = "retrieval"

    async def measure(self) -> Sequence[Sample]:
        """Look at the shelves."""
        shelves = self.index.shelves
        waiting = sum(len(shelf.pending) for shelf in shelves.by_name.values())
        figures = {
            "coe_retrieval_passages": float(len(shelves)),
            "coe_retrieval_queue_passages": float(waiting),
            "coe_retrieval_lag_seconds": self.index.lag_s,
        }
        now = self.clock.now()
        return [Sample(metric=name, value=value, at=now) for name, value in figures.items()]
