"""A reranker decides what comes first, and what it cannot decide is as the search found it."""

import asyncio
from collections.abc import Sequence

import pytest
from attrs import evolve, frozen
from coe_retrieval.index import PassageIndex
from coe_retrieval.plugin import RetrievalPlugin
from coe_retrieval.rerank import Reranking
from hypothesis import given
from hypothesis import strategies as st

from coe_core.application import Application
from coe_core.knowledge import SearchQuery
from coe_core.payer import Payer
from coe_core.scaffold.kinds.reranker import ExamplePlugin
from coe_core.service import KnowledgeIndex, KnowledgeStore
from coe_core.testing import MemoryKnowledgePlugin, deployment, make_turn
from coe_core.testing.knowledge import MemoryKnowledgeStore
from coe_core.turn import GLOBAL, Passage

from .conftest import MakeIndex, add

MINE = "group:default"
NOTES = [f"the refund of order {number}" + " and more" * number for number in range(8)]
QUERY = SearchQuery(text="refund order", layers=(MINE, GLOBAL), group_topk=3)


@frozen
class Longest:
    """Takes the longest text for the best."""

    name: str = "longest"

    async def rerank(
        self, text: str, passages: Sequence[Passage], *, parent: Payer
    ) -> Sequence[float]:
        return [min(len(passage.text) / 100, 1.0) for passage in passages]


class Broken(Longest):
    async def rerank(self, *_: object, **__: object) -> Sequence[float]:
        raise RuntimeError("no")


class Endless(Longest):
    async def rerank(self, *_: object, **__: object) -> Sequence[float]:
        await asyncio.Event().wait()
        return []


class Forgetful(Longest):
    async def rerank(self, *_: object, **__: object) -> Sequence[float]:
        return [0.5]


class Unbounded(Longest):
    async def rerank(
        self, text: str, passages: Sequence[Passage], *, parent: Payer
    ) -> Sequence[float]:
        return [7.5 for _ in passages]


@pytest.fixture
async def index(make_index: MakeIndex, store: MemoryKnowledgeStore) -> PassageIndex:
    await add(store, MINE, NOTES)
    return make_index()


async def search(
    index: PassageIndex, application: Application, *rerankers: Longest, query: SearchQuery = QUERY
) -> Sequence[Passage]:
    application = evolve(application, rerankers=rerankers)
    return await index.search(query, parent=make_turn(application=application))


async def test_the_reranker_decides_among_more_than_is_asked_for(
    index: PassageIndex, scripted: Application
) -> None:
    before = [passage.text for passage in await search(index, scripted)]
    assert before == NOTES[:3]
    index.reranking = Reranking(name="longest", topk=6, limit_s=60)
    found = await search(index, scripted, Longest())
    assert [passage.text for passage in found] == NOTES[5:2:-1]
    assert [passage.score for passage in found] == [len(p.text) / 100 for p in found]
    assert all(p.reason.startswith(f"longest {p.score:.2f}; words") for p in found)


async def test_the_least_score_is_one_of_the_reranker(
    index: PassageIndex, scripted: Application
) -> None:
    index.reranking = Reranking(name="longest", topk=20, limit_s=60)
    query = evolve(QUERY, min_score=len(NOTES[6]) / 100, group_topk=8)
    found = await search(index, scripted, Longest(), query=query)
    assert [passage.text for passage in found] == [NOTES[7], NOTES[6]]


@pytest.mark.parametrize(
    ("reranker", "note"),
    [
        (Broken(), "failed"),
        (Endless(), "took too long"),
        (Forgetful(), "failed"),
        (Unbounded(), "failed"),
        (Longest("another"), "is not there"),
    ],
)
async def test_where_it_fails_the_order_is_that_of_the_search(
    index: PassageIndex, scripted: Application, reranker: Longest, note: str
) -> None:
    plain = await search(index, scripted)
    index.reranking = Reranking(name="longest", topk=6, limit_s=0.01)
    found = await search(index, scripted, reranker)
    noted = [evolve(p, reason=f"{p.reason}; not reranked: longest {note}") for p in plain]
    assert [*found] == noted


@given(st.integers(0, 100), st.integers(0, 100), st.integers(1, 100))
def test_what_is_not_asked_for_is_not_shown_to_it(group: int, turns: int, topk: int) -> None:
    query = SearchQuery(text="", layers=(), global_topk=0, group_topk=group, session_topk=turns)
    wide = Reranking(name="x", topk=topk, limit_s=1).widened(query)
    assert wide.global_topk == 0
    assert wide.group_topk == (max(group, topk) if group else 0)
    assert wide.session_topk == (max(turns, topk) if turns else 0)


async def test_a_deployment_asks_the_reranker_of_another_plugin() -> None:
    plugins = {"retrieval": RetrievalPlugin, "memory": MemoryKnowledgePlugin, "near": ExamplePlugin}
    settings = '[plugins.retrieval]\nreranker = "example"\n'
    async with deployment(settings, plugins=plugins) as host, host.lease() as application:
        far = "a refund which takes a while, and is the same for any order"
        await add(application.need(KnowledgeStore), MINE, [far, "the refund order is blue"])
        search = application.need(KnowledgeIndex).search
        found = await search(QUERY, parent=make_turn(application=application))
    assert [(p.text, p.score) for p in found] == [("the refund order is blue", 1.0), (far, 2 / 12)]
