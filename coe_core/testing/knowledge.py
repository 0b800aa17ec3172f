"""A store of knowledge in memory, for tests of what reads one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence

from attrs import define, field, frozen

from coe_core.card import Card
from coe_core.compose import Context
from coe_core.error import Conflict
from coe_core.hookspec import hookimpl
from coe_core.identity import uuid7
from coe_core.knowledge import Document, Item, PassageChanges, card_passage
from coe_core.service import KnowledgeStore, Service
from coe_core.turn import Passage


@define
class MemoryKnowledgeStore:
    """A `KnowledgeStore` of one process."""

    _id: str = field(factory=uuid7, init=False)
    _items: dict[str, Item] = field(factory=dict, init=False)
    _passages: dict[str, Mapping[str, Passage]] = field(factory=dict, init=False)
    """Item to its passages, by id."""
    _log: list[str] = field(factory=list, init=False)
    """The passages that changed, in order."""

    async def put_document(self, document: Document, passages: Sequence[Passage]) -> None:
        """Add or replace a document."""
        self._put(document, passages)

    async def put_card(self, card: Card) -> None:
        """Add or replace a card."""
        self._put(card, [card_passage(card)])

    async def remove(self, layers: Sequence[str], item_id: str) -> bool:
        """Remove an item, False when the layers have no such."""
        if await self.item(layers, item_id) is None:
            return False
        self._log += self._passages.pop(item_id)
        del self._items[item_id]
        return True

    async def item(self, layers: Sequence[str], item_id: str) -> Item | None:
        """Return an item, None when the layers have no such."""
        item = self._items.get(item_id)
        return item if item is not None and item.layer in layers else None

    async def items(
        self, layers: Sequence[str], *, after: str = "", limit: int = 1000
    ) -> Sequence[Item]:
        """Return items by id, from behind `after`."""
        ids = sorted(id_ for id_, item in self._items.items() if item.layer in layers)
        return [self._items[id_] for id_ in ids if id_ > after][:limit]

    async def passages(self, layers: Sequence[str], ids: Sequence[str]) -> Sequence[Passage]:
        """Return passages in the order asked for."""
        known = {k: p for of_item in self._passages.values() for k, p in of_item.items()}
        return [known[id_] for id_ in ids if id_ in known and known[id_].layer in layers]

    async def neighbours(
        self, layers: Sequence[str], item_id: str, first: int, last: int
    ) -> Sequence[Passage]:
        """Return an item's passages from one position through another."""
        if await self.item(layers, item_id) is None:
            return []
        return [p for p in self._passages[item_id].values() if first <= p.position <= last]

    async def follow(self, cursor: str = "") -> AsyncIterator[PassageChanges]:
        """Read what changed behind a cursor."""
        store, _, seen = (cursor or f"{self._id}:0").partition(":")
        if store != self._id:
            raise Conflict("the cursor is of another store; begin again")
        if ids := dict.fromkeys(self._log[int(seen) :]):
            found = self._findable()
            yield PassageChanges(
                put=tuple(found[id_] for id_ in ids if id_ in found),
                removed=tuple(id_ for id_ in ids if id_ not in found),
                cursor=f"{self._id}:{len(self._log)}",
            )

    def _put(self, item: Item, passages: Sequence[Passage]) -> None:
        before = self._findable()
        self._items[item.id] = item
        gone = self._passages.get(item.id, {})
        self._passages[item.id] = {passage.id: passage for passage in passages}
        now = self._findable()
        ids = dict.fromkeys([*gone, *self._passages[item.id]])
        self._log += [id_ for id_ in ids if before.get(id_) != now.get(id_)]

    def _findable(self) -> Mapping[str, Passage]:
        return {
            id_: passage
            for item_id, of_item in self._passages.items()
            if self._items[item_id].state == "active"
            for id_, passage in of_item.items()
        }


@frozen
class MemoryKnowledgePlugin:
    """A plugin that provides such a store, for others that need one."""

    @hookimpl
    def coe_services(self, ctx: Context) -> Sequence[Service]:
        """Provide a store."""
        return [Service(contract=KnowledgeStore, provider=MemoryKnowledgeStore())]
