"""The library: puts documents and cards on the shelves, and records who did."""

from __future__ import annotations

import asyncio
import hashlib
import unicodedata
from collections.abc import Sequence
from datetime import datetime
from pathlib import PurePosixPath
from typing import Literal, TypeAlias

from attrs import evolve, field, frozen

from coe_core.card import Card, CardKind
from coe_core.error import InvalidField, NotFound
from coe_core.identity import TurnId
from coe_core.knowledge import Document, Item
from coe_core.message import Json
from coe_core.record import Pointer, StateChange
from coe_core.service import Clock, Journal, KnowledgeStore, RecordReader
from coe_knowledge.block import Unreadable
from coe_knowledge.cut import cut
from coe_knowledge.layer import group_of
from coe_knowledge.reading import media_type_of, read
from coe_knowledge.sentence import detected_language
from coe_knowledge.settings import Settings

Outcome: TypeAlias = Literal["added", "changed", "unchanged"]
"""What adding did to the store."""
LONGEST_SOURCE = 500
LONGEST_CARD = 8_000
"""In letters; a card is short, whatever else is a document."""


@frozen(kw_only=True)
class Upload:
    """A document as it is brought."""

    layer: str
    source: str
    content: bytes = field(repr=False)
    media_type: str | None = None
    """None: as the source's name ends."""
    title: str | None = None
    """None: as the document calls itself, or else its source's name."""
    valid_until: datetime | None = None


@frozen(kw_only=True)
class Added:
    """What became of a document."""

    id: str
    layer: str
    source: str
    outcome: Outcome
    passages: int


@frozen
class AddedCard:
    """A card as the store has it, with its counters, and what became of it."""

    card: Card
    outcome: Outcome


@frozen
class Library:
    """Adds and removes what a deployment knows."""

    store: KnowledgeStore
    journal: Journal
    clock: Clock
    settings: Settings

    async def add(self, upload: Upload, actor: str, *, again: bool = False) -> Added:
        """Add a document, or put it in the place of the one of that layer and source. The same
        bytes are not read twice, unless `again` says so.

        Raises `Unreadable` for what cannot be read, `InvalidField` for a source or layer that will
        not do.
        """
        layer, source = upload.layer, fit_source(upload.source)
        group_of(layer)
        self.check_size(len(upload.content), source)
        id_ = document_id(layer, source)
        sha256 = hashlib.sha256(upload.content).hexdigest()
        old = await self.store.item([layer], id_)
        if not again and isinstance(old, Document) and _same(old, upload, sha256):
            count = len(await self.store.neighbours([layer], id_, 0, 2**31 - 1))
            return Added(id=id_, layer=layer, source=source, outcome="unchanged", passages=count)
        media_type = upload.media_type or media_type_of(source)
        timeout_s = self.settings.read_timeout_s
        script = await read(upload.content, source, media_type, timeout_s=timeout_s)
        document = Document(
            id=id_,
            layer=layer,
            source=source,
            title=upload.title or script.title or PurePosixPath(source).stem,
            media_type=media_type,
            language=detected_language("\n".join(block.text for block in script.blocks[:50])),
            sha256=sha256,
            size_bytes=len(upload.content),
            valid_until=upload.valid_until,
            added_at=self.clock.now(),
            added_by=actor,
        )
        limit_tokens = self.settings.passage_tokens
        passages = await asyncio.to_thread(cut, document, script.blocks, limit_tokens=limit_tokens)
        await self.store.put_document(document, passages)
        told = {"source": source, "sha256": sha256, "passages": len(passages)}
        await self._record(document, told, actor)
        outcome: Outcome = "added" if old is None else "changed"
        return Added(id=id_, layer=layer, source=source, outcome=outcome, passages=len(passages))

    async def add_card(
        self,
        *,
        layer: str,
        kind: CardKind,
        text: str,
        title: str = "",
        valid_until: datetime | None = None,
        evidence: Sequence[Pointer] = (),
        actor: str,
    ) -> AddedCard:
        """Add a card that somebody has written; it may be found at once. One that the layer has
        already, to the letter, is left as it is.
        """
        group_of(layer)
        if not text.strip():
            raise InvalidField("a card has a text", param="text")
        if len(text) > LONGEST_CARD:
            raise InvalidField(
                f"a card has {LONGEST_CARD} letters at most; add what is longer as a document",
                param="text",
            )
        text, title = (unicodedata.normalize("NFC", said) for said in (text, title))
        id_ = card_id(layer, kind, title, text)
        old = await self.store.item([layer], id_)
        written = Card(id=id_, layer=layer, kind=kind, text=text, title=title)
        known = old if isinstance(old, Card) else written
        card = evolve(
            known,
            evidence=tuple(evidence) or known.evidence,
            valid_until=valid_until or known.valid_until,
            state="active",
            reason=known.reason or f"written by {actor}",
        )
        if card == known:
            return AddedCard(card, "unchanged")
        await self.store.put_card(card)
        await self._record(card, {"kind": kind, "title": card.title}, actor)
        kept = await self.store.item([layer], id_)  # The store knows more of one that was removed.
        card = kept if isinstance(kept, Card) else card
        return AddedCard(card, "added" if old is None else "changed")

    async def remove(self, layer: str, item_id: str, actor: str) -> Item:
        """Remove an item and return it. Raises `NotFound` when the layer has no such."""
        item = await self.store.item([layer], item_id)
        if item is None or not await self.store.remove([layer], item_id):
            raise unknown(item_id)
        await self._record(item, None, actor)
        return item

    def check_size(self, size_bytes: int, source: str) -> None:
        """Refuse a file that is too large; before it is read, where that can be known."""
        if size_bytes > self.settings.largest_mb * 1024 * 1024:
            raise Unreadable(
                f"{source} has {size_bytes / 1024 / 1024:.0f} MB, of {self.settings.largest_mb} at "
                "most: split it, or raise [plugins.knowledge] largest_mb"
            )

    async def _record(self, item: Item, told: Json, actor: str) -> None:
        change = StateChange(
            key=f"knowledge/{item.layer}/{item.id}", value=told, actor=actor, at=self.clock.now()
        )
        await self.journal.append(change)


def _same(old: Document, upload: Upload, sha256: str) -> bool:
    """Whether nothing is to be done: the bytes and whatever was said of them are the same."""
    return (
        old.sha256 == sha256
        and upload.title in (None, old.title)
        and upload.media_type in (None, old.media_type)
        and upload.valid_until == old.valid_until
        and old.state == "active"
    )


def unknown(item_id: str) -> NotFound:
    """Say that there is no such item: another group's is as unknown as none."""
    text = f"there is no document or card {item_id!r:.200}; the list of a layer tells their ids"
    return NotFound(text)


def card_id(layer: str, kind: str, title: str, text: str) -> str:
    """Return the id of a card that a layer has once."""
    made_from = f"{layer}\0{kind}\0{title}\0{text}"
    return f"card_{hashlib.sha256(made_from.encode()).hexdigest()[:24]}"


async def evidence_of(reader: RecordReader, group: str, turns: Sequence[str]) -> list[Pointer]:
    """Find where turns of a group lie in the record. Raises `NotFound` for one that it has not."""
    found = []
    for turn in turns:
        pointer = await reader.pointer(group, TurnId(turn))
        if pointer is None:
            raise NotFound(f"there is no turn {turn!r:.200}", param="evidence")
        found.append(pointer)
    return found


def document_id(layer: str, source: str) -> str:
    """Return the id of a layer's document of that source."""
    made_from = f"{layer}\n{source}"
    return f"doc_{hashlib.sha256(made_from.encode()).hexdigest()[:24]}"


def fit_source(source: str) -> str:
    """Return a source in NFC: macOS writes the names of Korean files in pieces. Raises
    `InvalidField` where it will not do as one.
    """
    written = unicodedata.normalize("NFC", source)
    if not 0 < len(written) <= LONGEST_SOURCE or not written.isprintable():
        raise InvalidField(
            f"a source is 1 to {LONGEST_SOURCE} printable characters: a path, an address, a name",
            param="source",
        )
    return written
