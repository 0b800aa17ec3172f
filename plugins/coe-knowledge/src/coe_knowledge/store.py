"""The store: documents, cards and their passages in the tables of the deployment's database."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from attrs import define, evolve

from coe_core.card import Card
from coe_core.codec import decode, encode, structure, unstructure
from coe_core.error import Conflict
from coe_core.knowledge import Document, Item, PassageChanges, card_passage
from coe_core.service import EVERY_GROUP, Database
from coe_core.turn import Passage
from coe_knowledge.layer import group_of, groups_of
from coe_knowledge.tally import counted

if TYPE_CHECKING:
    from sqlalchemy import Connection, Select, Table

PAGE = 500
"""How many changes are told at once."""


@define(eq=False)
class SqlKnowledgeStore:
    """A `KnowledgeStore` on the deployment's `Database`."""

    database: Database
    name: str = "knowledge"

    async def open(self) -> None:
        """Bring the tables up to date."""
        from coe_knowledge.table import HEAD

        await self.database.upgrade("knowledge", "coe_knowledge:migrations", head=HEAD)

    async def put_document(self, document: Document, passages: Sequence[Passage]) -> None:
        await self.database.write(lambda c: _Writing(c).put(document, passages))

    async def put_card(self, card: Card) -> None:
        await self.database.write(lambda c: _Writing(c).put_card(card))

    async def remove(self, layers: Sequence[str], item_id: str) -> bool:
        groups, id_ = groups_of(layers), _findable(item_id)
        return await self.database.write(lambda c: _Writing(c).remove(groups, id_))

    async def item(self, layers: Sequence[str], item_id: str) -> Item | None:
        from coe_knowledge.table import items

        query = _bodies(items, layers).where(items.c.id == _findable(item_id))
        found = await self._read(layers, query)
        return _item(found[0]) if found else None

    async def items(
        self, layers: Sequence[str], *, after: str = "", limit: int = 1000
    ) -> Sequence[Item]:
        from coe_knowledge.table import items

        behind = _bodies(items, layers).where(items.c.id > after.partition("\x00")[0])
        found = await self._read(layers, behind.order_by(items.c.id).limit(limit))
        return [_item(body) for body in found]

    async def passages(self, layers: Sequence[str], ids: Sequence[str]) -> Sequence[Passage]:
        from coe_knowledge.table import passages

        wanted = dict.fromkeys(map(_findable, ids))
        query = _bodies(passages, layers).where(passages.c.id.in_(wanted))
        found = {passage.id: passage for passage in map(_passage, await self._read(layers, query))}
        return [found[id_] for id_ in wanted if id_ in found]

    async def neighbours(
        self, layers: Sequence[str], item_id: str, first: int, last: int
    ) -> Sequence[Passage]:
        from coe_knowledge.table import passages

        column = passages.c
        query = _bodies(passages, layers).where(
            column.item_id == _findable(item_id), column.position.between(first, last)
        )
        found = await self._read(layers, query.order_by(column.position))
        return [_passage(body) for body in found]

    async def follow(self, cursor: str = "") -> AsyncIterator[PassageChanges]:
        while changes := await self.database.read(None, partial(_changes, cursor=cursor)):
            yield changes
            cursor = changes.cursor

    async def _read(self, layers: Sequence[str], query: Any) -> Sequence[str]:
        """Read of some layers, where one group is concerned as that group: then the database itself
        shows nothing of another.
        """
        own = groups_of(layers) - {EVERY_GROUP}
        reader = None if len(own) > 1 else next(iter(own), EVERY_GROUP)
        return await self.database.read(reader, lambda c: c.execute(query).scalars().all())


class _Writing:
    """One transaction that writes. They wait for each other, so that changes are numbered in the
    order in which they are seen: whoever follows misses none.
    """

    def __init__(self, connection: Connection) -> None:
        import sqlalchemy as sa

        from coe_knowledge import table

        self._connection = connection
        self._sa, self._table, self._run = sa, table, connection.execute
        self._last = table.last_change(connection)

    def put(self, item: Item, passages: Sequence[Passage]) -> None:
        """Write an item, and of its passages what is new."""
        group, table = group_of(item.layer), self._table
        old = self._known(item.id)
        new: dict[str, dict[str, Any]] = {
            passage.id: {
                "id": passage.id,
                "group_name": group,
                "item_id": item.id,
                "position": passage.position,
                "is_findable": item.state == "active",
                "body": _body(passage),
            }
            for passage in passages
        }
        changed = [row for id_, row in new.items() if old.get(id_) != row]
        self._forget([id_ for id_ in old if id_ not in new], [row["id"] for row in changed])
        if changed:
            numbered = [row | {"change": self._number()} for row in changed]
            self._run(self._sa.insert(table.passages), numbered)
        self._run(self._sa.delete(table.items).where(table.items.c.id == item.id))
        row = {"id": item.id, "group_name": group, "body": _body(item)}
        self._run(self._sa.insert(table.items), row)
        self._count()

    def put_card(self, card: Card) -> None:
        """Write a card, with what is counted of it: of one that is there the counters stay, for
        whoever writes it may have read it before; and one that was removed has not lost its uses.
        """
        items = self._table.items
        body = self._run(self._sa.select(items.c.body).where(items.c.id == card.id)).scalar()
        if body is not None and isinstance(old := _item(body), Card):
            card = evolve(
                card,
                used=old.used,
                feedback_count=old.feedback_count,
                helped=old.helped,
                hurt=old.hurt,
                quality_score=old.quality_score,
            )
        self.put(counted(self._connection, card), [card_passage(card)])

    def remove(self, groups: set[str], item_id: str) -> bool:
        """Remove an item of those groups with its passages."""
        items = self._table.items
        of_group = items.c.group_name.in_(groups)
        gone = self._run(self._sa.delete(items).where(items.c.id == item_id, of_group)).rowcount
        if gone:
            self._forget([*self._known(item_id)], [])
            self._count()
        return bool(gone)

    def _known(self, item_id: str) -> Mapping[str, Mapping[str, Any]]:
        column = self._table.passages.c
        told = (c for c in column if c.name != "change")
        query = self._sa.select(*told).where(column.item_id == item_id)
        return {row.id: dict(row._mapping) for row in self._run(query)}  # noqa: SLF001 its public name

    def _forget(self, gone: Sequence[str], replaced: Sequence[str]) -> None:
        """Delete passages; of those that will not come again, tell who follows."""
        table = self._table
        for start in range(0, len(ids := [*gone, *replaced]), PAGE):
            some = ids[start : start + PAGE]
            self._run(self._sa.delete(table.passages).where(table.passages.c.id.in_(some)))
        if gone:
            rows = [{"change": self._number(), "passage_id": id_} for id_ in gone]
            self._run(self._sa.insert(table.removals), rows)

    def _number(self) -> int:
        self._last += 1
        return self._last

    def _count(self) -> None:
        self._run(self._sa.update(self._table.changes).values(last=self._last))


def _changes(connection: Connection, cursor: str) -> PassageChanges | None:
    """Read the changes next behind a cursor, None when there are none."""
    import sqlalchemy as sa

    from coe_knowledge.table import changes, passages, removals

    store_id, last = connection.execute(sa.select(changes.c.store_id, changes.c.last)).one()
    of_store, _, seen_text = (cursor or f"{store_id}:0").partition(":")
    seen = int(seen_text)
    if of_store != store_id or seen > last:
        raise Conflict("the cursor is of another store of knowledge; follow from the beginning")
    if seen == last:
        return None

    def behind(table: sa.Table, *columns: Any) -> Sequence[Any]:
        query = sa.select(table.c.change, *columns).where(table.c.change > seen)
        return connection.execute(query.order_by(table.c.change).limit(PAGE)).all()

    put = behind(passages, passages.c.id, passages.c.is_findable, passages.c.body)
    gone = behind(removals, removals.c.passage_id)
    # Where one of the two has more to tell, the other goes no further.
    reached = min([last, *(rows[-1].change for rows in (put, gone) if len(rows) == PAGE)])
    rows = [row for row in put if row.change <= reached]
    found = {row.id: _passage(row.body) for row in rows if row.is_findable}
    removed = [row.id for row in rows if not row.is_findable]
    removed += [row.passage_id for row in gone if row.change <= reached]
    return PassageChanges(
        put=tuple(found.values()),
        removed=tuple(id_ for id_ in dict.fromkeys(removed) if id_ not in found),
        cursor=f"{store_id}:{reached}",
    )


def _bodies(table: Table, layers: Sequence[str]) -> Select[Any]:
    """Select of the layers alone."""
    import sqlalchemy as sa

    return sa.select(table.c.body).where(table.c.group_name.in_(groups_of(layers)))


def _findable(id_: str) -> str:
    """Return an id, "" for what can be none: Postgres refuses to look for a NUL."""
    return "" if "\x00" in id_ else id_


def _body(value: Item | Passage) -> str:
    return encode(unstructure(value)).decode()


def _passage(body: str) -> Passage:
    return structure(decode(body), Passage)


def _item(body: str) -> Item:
    value = decode(body)
    if "media_type" in value:
        return structure(value, Document)
    return structure(value, Card)
