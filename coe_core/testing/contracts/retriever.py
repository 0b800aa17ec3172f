"""The laws of retrievers."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from typing import ClassVar

from hypothesis import strategies as st

from coe_core.contract import Retriever
from coe_core.testing.contracts.component import (
    ComponentContract,
    survives_cancellation,
    untouched,
)
from coe_core.testing.contracts.law import law
from coe_core.testing.strategies import turns
from coe_core.turn import Passage, Turn


class RetrieverContract(ComponentContract[Retriever]):
    """What holds of every retriever. `make` returns one that has something to find."""

    contract = Retriever
    layers: ClassVar[tuple[str, ...]] = ("global", "group:default")
    """The layers that `make` fills."""

    @law(turn=turns())
    async def test_finds_passages_best_first(self, retriever: Retriever, turn: Turn) -> None:
        """A retriever returns a sequence of passages with finite scores, none twice, the best
        first; [] for none.
        """
        check_passages(await retriever.retrieve(turn, self.layers))

    @law(turn=turns(), data=st.data())
    async def test_stays_within_the_layers(
        self, retriever: Retriever, turn: Turn, data: st.DataObject
    ) -> None:
        """Passages come from the layers asked for and from no other: this keeps the knowledge
        of one group from another.
        """
        asked = data.draw(st.lists(st.sampled_from(self.layers), unique=True).map(tuple))
        found = {passage.layer for passage in await retriever.retrieve(turn, asked)}
        assert found <= set(asked), (
            f"asked for the layers {asked}, found passages of {sorted(found - set(asked))}; "
            "filter by layer before anything else"
        )

    @law(turn=turns())
    async def test_leaves_the_turn_alone(self, retriever: Retriever, turn: Turn) -> None:
        """A retriever reads the turn and changes nothing in it."""
        with untouched(turn):
            await retriever.retrieve(turn, self.layers)

    @law(some=st.lists(turns(), min_size=2, max_size=3))
    async def test_finds_for_many_at_once(self, retriever: Retriever, some: list[Turn]) -> None:
        """What is found does not depend on what else is sought at the time."""
        together = await asyncio.gather(*(retriever.retrieve(turn, self.layers) for turn in some))
        alone = [await retriever.retrieve(turn, self.layers) for turn in some]
        ids = [[[p.id for p in passages] for passages in found] for found in (together, alone)]
        assert ids[0] == ids[1], f"at once it found {ids[0]}, one by one {ids[1]}"

    @law(turn=turns(), steps=st.integers(0, 3))
    async def test_lets_itself_be_cancelled(
        self, retriever: Retriever, turn: Turn, steps: int
    ) -> None:
        """A client that goes away cancels the search."""
        await survives_cancellation(retriever.retrieve(turn, self.layers), steps)


def check_passages(passages: Sequence[Passage]) -> None:
    """See that passages are what they should be, best first."""
    wrong = [p for p in passages if not isinstance(p, Passage)]
    assert not wrong, f"found {wrong[:1]!r}; return coe_core.Passage"
    scores = [passage.score for passage in passages]
    assert all(map(math.isfinite, scores)), f"a score is no number: {scores}"
    assert scores == sorted(scores, reverse=True), f"the best is not first: scores are {scores}"
    ids = [passage.id for passage in passages]
    assert len(set(ids)) == len(ids), f"a passage came twice: {ids}"
    nameless = [p for p in passages if not p.source.strip()]
    assert not nameless, f"{nameless[:1]!r} has no source; it is what an answer cites"
