"""The laws of knowledge: of the stores that keep it, and of the indexes that find it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, TypeAlias

from attrs import evolve
from hypothesis import assume
from hypothesis import strategies as st

from coe_core.card import Card
from coe_core.clock import SystemClock
from coe_core.error import Conflict
from coe_core.knowledge import Document, Item, SearchQuery, card_passage
from coe_core.payer import Payer
from coe_core.service import KnowledgeIndex, KnowledgeStore
from coe_core.testing.contracts.component import (
    ServiceContract,
    survives_cancellation,
    untouched,
)
from coe_core.testing.contracts.law import law
from coe_core.testing.contracts.retriever import check_passages
from coe_core.testing.knowledge import MemoryKnowledgeStore
from coe_core.testing.strategies import cards, documents, sentences, texts
from coe_core.testing.turn import make_turn, scripted_application
from coe_core.turn import GLOBAL, Passage, group_layer

LAYERS = (GLOBAL, "group:research", "group:support")
ITEM = st.sampled_from(LAYERS)
Written: TypeAlias = tuple[Document, Sequence[Passage]] | Card


def _id(written: Written) -> str:
    return written.id if isinstance(written, Card) else written[0].id


def _item_id(item: Item) -> str:
    return item.id


ITEMS = st.lists(documents(ITEM) | cards(ITEM), max_size=4, unique_by=_id)
ASKED = st.lists(st.sampled_from(LAYERS), unique=True)


async def put(store: KnowledgeStore, written: Written) -> Item:
    """Write an item, however that is done, and return it."""
    if isinstance(written, Card):
        await store.put_card(written)
        return written
    await store.put_document(*written)
    return written[0]


def pieces(written: Written) -> Sequence[Passage]:
    """Return the passages of an item."""
    return [card_passage(written)] if isinstance(written, Card) else written[1]


class KnowledgeStoreContract(ServiceContract[KnowledgeStore]):
    """What holds of every knowledge store. `make` returns an empty one."""

    contract = KnowledgeStore

    @law(some=ITEMS, asked=ASKED)
    async def test_returns_the_items_of_the_layers(
        self, store: KnowledgeStore, some: list[Written], asked: list[str]
    ) -> None:
        """Items come back equal, by id, from the layers asked for and no other."""
        with untouched(some):
            items = [await put(store, each) for each in some]
        wanted = sorted((i for i in items if i.layer in asked), key=_item_id)
        found = list(await store.items(asked))
        assert found == wanted, f"of the layers {asked} there are {wanted!r}, found {found!r}"
        for item in items:
            seen = await store.item(asked, item.id)
            expected = item if item.layer in asked else None
            assert seen == expected, f"asked {asked} for {item!r}, got {seen!r}"

    @law(some=ITEMS, limit=st.integers(1, 3))
    async def test_pages(self, store: KnowledgeStore, some: list[Written], limit: int) -> None:
        """Page after page, each of at most `limit` items, every item comes once."""
        items = [await put(store, each) for each in some]
        listed: list[Item] = []
        for _ in range(len(items) + 1):
            page = await store.items(LAYERS, after=listed[-1].id if listed else "", limit=limit)
            assert len(page) <= limit, f"at most {limit} were asked for, {len(page)} came"
            listed += page
        wanted = sorted(items, key=_item_id)
        assert listed == wanted, f"page by page there came {listed!r}, of {wanted!r}"

    @law(before=documents(st.just(GLOBAL)), after=documents(ITEM), card=cards(ITEM), text=texts())
    async def test_replaces_an_item(
        self,
        store: KnowledgeStore,
        before: tuple[Document, Sequence[Passage]],
        after: tuple[Document, Sequence[Passage]],
        card: Card,
        text: str,
    ) -> None:
        """An item that is put again replaces the one with its id, with all of its passages, and
        moves to its new layer.
        """
        document, card = evolve(after[0], id=before[0].id), evolve(card, id=f"card-{card.id}")
        own = [evolve(passage, item=document.id) for passage in after[1]]
        for each in (before, (document, own), evolve(card, layer=GLOBAL), evolve(card, text=text)):
            await put(store, each)
        found = list(await store.items(LAYERS))
        wanted: list[Item] = sorted([document, evolve(card, text=text)], key=_item_id)
        assert found == wanted, f"put twice, the last time as {wanted!r}, there is {found!r}"
        left = list(await store.neighbours(LAYERS, document.id, 0, 1000))
        assert left == own, f"the document was replaced, and has the passages {left!r}"

    @law(some=ITEMS, asked=ASKED, data=st.data())
    async def test_gives_passages_of_the_layers(
        self, store: KnowledgeStore, some: list[Written], asked: list[str], data: st.DataObject
    ) -> None:
        """Passages come back equal, in the order asked for, and of the layers alone, whatever the
        state of their item; so do the neighbours of one.
        """
        for each in some:
            await put(store, each)
        every = data.draw(st.permutations([p for each in some for p in pieces(each)]))
        wanted = [passage for passage in every if passage.layer in asked]
        found = list(await store.passages(asked, ["unknown", *(p.id for p in every)]))
        assert found == wanted, f"of the layers {asked} there are {wanted!r}, found {found!r}"
        last = data.draw(st.integers(0, 3))
        for each in some:
            beside = [p for p in pieces(each) if p.layer in asked]
            for first, end in [(-1, last), *((n, n) for n in range(len(pieces(each))))]:
                wanted = [p for p in beside if first <= p.position <= end]
                seen = list(await store.neighbours(asked, _id(each), first, end))
                assert seen == wanted, f"from {first} to {end} are {wanted!r}, found {seen!r}"

    @law(some=ITEMS, asked=ASKED)
    async def test_removes_within_the_layers(
        self, store: KnowledgeStore, some: list[Written], asked: list[str]
    ) -> None:
        """An item is removed with its passages by whoever names its layer, and by nobody else."""
        items = [await put(store, each) for each in some]
        for item in items:
            was_there = await store.remove(asked, item.id)
            assert was_there == (item.layer in asked), f"remove({asked}) said {was_there} of {item}"
            assert not await store.remove(asked, item.id), "it was removed twice"
        left = list(await store.items(LAYERS))
        kept = sorted((i for i in items if i.layer not in asked), key=_item_id)
        assert left == kept, f"removed from {asked}; left should be {kept!r}, is {left!r}"
        ids = [passage.id for each in some for passage in pieces(each)]
        strays = {p.layer for p in await store.passages(LAYERS, ids)} & set(asked)
        assert not strays, f"the items were removed, their passages are left in {sorted(strays)}"

    @law(steps=st.lists(st.tuples(documents(ITEM) | cards(ITEM), st.booleans()), max_size=5))
    async def test_can_be_followed(
        self, store: KnowledgeStore, steps: list[tuple[Written, bool]]
    ) -> None:
        """Whoever follows, step by step or from the beginning, knows the passages of the active
        items, as they are; behind the last cursor nothing comes, though all is put again.
        """
        told: dict[str, Passage] = {}
        last: dict[str, Written] = {}
        cursor = ""

        async def check() -> str:
            reached = await _follow(store, cursor, told)
            wanted = {p.id: p for each in last.values() if _active(each) for p in pieces(each)}
            assert told == wanted, f"following from step to step tells {told!r}, not {wanted!r}"
            anew: dict[str, Passage] = {}
            await _follow(store, "", anew)
            assert anew == wanted, f"from the beginning {anew!r} was told, not {wanted!r}"
            return reached

        for written, stays in steps:
            last[_id(written)] = written
            await put(store, written)
            cursor = await check()
            if not stays:
                del last[_id(written)]
                await store.remove(LAYERS, _id(written))
                cursor = await check()
        for written in last.values():
            await put(store, written)
        again = [changes async for changes in store.follow(cursor)]
        assert not cursor or not again, f"nothing changed, and there came {again!r}"

    @law(some=ITEMS)
    async def test_refuses_the_cursor_of_another(
        self, store: KnowledgeStore, some: list[Written]
    ) -> None:
        """A cursor of another store is a `Conflict`, so that whoever follows begins again."""
        async with self.running() as other:
            for each in some:
                await put(other, each)
            cursor = await _follow(other, "", {})
        assume(cursor)
        try:
            async for changes in store.follow(cursor):
                raise AssertionError(f"the cursor of another store gave {changes!r}")
            raise AssertionError("the cursor of another store was taken for one of this store's")
        except Conflict:
            pass


def _active(written: Written) -> bool:
    return (written if isinstance(written, Card) else written[0]).state == "active"


async def _follow(store: KnowledgeStore, cursor: str, told: dict[str, Passage]) -> str:
    async for changes in store.follow(cursor):
        for gone in changes.removed:
            told.pop(gone, None)
        told.update({passage.id: passage for passage in changes.put})
        cursor = changes.cursor
    return cursor


RESEARCH, SUPPORT = group_layer("research"), group_layer("support")
ASKING = st.sampled_from([(GLOBAL,), (RESEARCH,), (RESEARCH, GLOBAL)])
NOTES = st.lists(sentences(), min_size=1, max_size=4, unique=True)


class KnowledgeIndexContract(ServiceContract[tuple[KnowledgeStore, KnowledgeIndex]]):
    """What holds of every index. `make` returns what makes one of a store that it is given, the
    index's class say.
    """

    contracts = (KnowledgeStore, KnowledgeIndex)

    @asynccontextmanager
    async def _made(self) -> AsyncIterator[Any]:
        store = MemoryKnowledgeStore()
        async with super()._made() as make:
            index_of: Any = make
            yield store, index_of(store)

    @law(notes=NOTES)
    async def test_finds_what_was_put(
        self, pair: tuple[KnowledgeStore, KnowledgeIndex], notes: list[str]
    ) -> None:
        """What the store has acknowledged is found at once, by its own words, with a finite score
        and a reason; what was removed, replaced, held or has ended is not.
        """
        store, index = pair
        document, passages = noted(RESEARCH, notes)
        await store.put_document(document, passages)
        for passage in passages:
            found = await find(index, passage.text, RESEARCH)
            check_passages(found)
            assert passage.id in {p.id for p in found}, (
                f"{passage.text!r} was put, and its own words find {[p.text for p in found]}"
            )
            assert all(p.reason for p in found), f"why was it found? {found!r} gives no reason"
            hit = next(p for p in found if p.id == passage.id)
            same = evolve(hit, score=0.0, reason="", retriever="")
            assert same == passage, f"put {passage!r}, found {same!r}"
        ended = evolve(passages[0], valid_until=SystemClock().now() - timedelta(days=1))
        for gone, rest in (
            (evolve(document, state="held"), passages),
            (document, passages[1:]),
            (document, [ended, *passages[1:]]),
        ):
            await store.put_document(gone, rest)
            left = {p.id for p in await find(index, passages[0].text, RESEARCH)}
            assert passages[0].id not in left, "it was held, replaced or ended, and is still found"
        await store.remove([RESEARCH], document.id)
        found = await find(index, passages[0].text, RESEARCH)
        assert not found, f"all was removed, and {found!r} is still found"

    @law(notes=NOTES, layers=ASKING, topk=st.integers(0, 2), data=st.data())
    async def test_stays_within_the_query(
        self,
        pair: tuple[KnowledgeStore, KnowledgeIndex],
        notes: list[str],
        layers: tuple[str, ...],
        topk: int,
        data: st.DataObject,
    ) -> None:
        """Passages come of the layers alone, best first, at most so many of each, and through
        every filter, whatever is sought.
        """
        store, index = pair
        text = data.draw(st.sampled_from(notes) | texts())
        for layer in (GLOBAL, RESEARCH, SUPPORT):
            await store.put_document(*noted(layer, notes))
        query = SearchQuery(text=text, layers=layers, global_topk=topk, group_topk=topk)
        found = await index.search(query, parent=payer())
        check_passages(found)
        for layer in {passage.layer for passage in found}:
            assert layer in layers, f"asked for {layers}, found a passage of {layer}"
            count = sum(passage.layer == layer for passage in found)
            assert count <= topk, f"at most {topk} of {layer} were asked for, {count} came"
        every = await index.search(SearchQuery(text=text, layers=layers), parent=payer())
        best = max((passage.score for passage in every), default=0.0)
        for narrow in (
            {"kinds": ("fact",)},
            {"items": ("another",)},
            {"sources": ("*.pdf",)},
            {"languages": ("fr",)},
            {"min_score": best + 1.0},
        ):
            query = SearchQuery(text=text, layers=layers, **narrow)
            left = await index.search(query, parent=payer())
            assert not left, f"{narrow} holds of none, and found {left!r}"

    @law(notes=NOTES, others=NOTES, text=sentences(), layers=ASKING)
    async def test_shows_nothing_of_other_layers(
        self,
        pair: tuple[KnowledgeStore, KnowledgeIndex],
        notes: list[str],
        others: list[str],
        text: str,
        layers: tuple[str, ...],
    ) -> None:
        """What another group puts changes nothing of what is found: neither passages nor their
        scores, order and reasons.
        """
        store, index = pair
        for layer in layers:
            await store.put_document(*noted(layer, notes))
        query = SearchQuery(text=text, layers=layers)
        before = await index.search(query, parent=payer())
        await store.put_document(*noted(SUPPORT, [*others, text]))
        after = await index.search(query, parent=payer())
        assert after == before, f"another group put something; found was {before!r}, is {after!r}"

    @law(notes=NOTES)
    async def test_can_be_rebuilt(
        self, pair: tuple[KnowledgeStore, KnowledgeIndex], notes: list[str]
    ) -> None:
        """A rebuilt index finds what it found, and tells how far it is, to the end."""
        store, index = pair
        await store.put_document(*noted(RESEARCH, notes))
        before = [await find(index, note, RESEARCH) for note in notes]
        told = [(far.done, far.total) async for far in index.rebuild()]
        assert told == sorted(told), f"it went backwards: {told}"
        assert told, "nothing was told"
        assert told[-1][0] == told[-1][1], f"it was told to the end, and that is {told[-1]}"
        after = [await find(index, note, RESEARCH) for note in notes]
        assert after == before, f"found was {before!r}, and once rebuilt {after!r}"

    @law(notes=NOTES, steps=st.integers(0, 3))
    async def test_lets_itself_be_cancelled(
        self, pair: tuple[KnowledgeStore, KnowledgeIndex], notes: list[str], steps: int
    ) -> None:
        """A client that goes away cancels the search, and the next one finds as ever."""
        store, index = pair
        await store.put_document(*noted(RESEARCH, notes))
        await survives_cancellation(find(index, notes[0], RESEARCH), steps)
        assert await find(index, notes[0], RESEARCH), "after a cancelled search nothing is found"


def noted(layer: str, notes: Sequence[str]) -> tuple[Document, Sequence[Passage]]:
    """Make a document of a layer, with a passage of each note."""
    document = Document(
        id=f"doc-{layer}",
        layer=layer,
        source="handbook.md",
        title="Handbook",
        media_type="text/markdown",
        sha256="0" * 64,
        size_bytes=1,
        added_at=SystemClock().now(),
    )
    return document, [
        Passage(
            id=f"{document.id}-{position}",
            text=text,
            layer=layer,
            source=document.source,
            item=document.id,
            kind="document",
            title=document.title,
            position=position,
        )
        for position, text in enumerate(notes)
    ]


def payer() -> Payer:
    """Make somebody who pays for a search."""
    return make_turn(application=scripted_application())


async def find(index: KnowledgeIndex, text: str, layer: str) -> Sequence[Passage]:
    """Search one layer for a text."""
    return await index.search(SearchQuery(text=text, layers=(layer,)), parent=payer())
