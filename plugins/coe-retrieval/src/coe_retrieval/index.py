"""The index: the `KnowledgeIndex` service."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from attrs import define, field, frozen

from coe_core.error import Conflict
from coe_core.knowledge import Indexed, SearchQuery
from coe_core.payer import Payer
from coe_core.runner import Runner
from coe_core.service import Clock, KnowledgeStore, RecordReader
from coe_core.turn import Passage
from coe_retrieval.content import digest
from coe_retrieval.embedding import Embedding, embedders
from coe_retrieval.question import Meaning
from coe_retrieval.rerank import Reranking
from coe_retrieval.shelves import ShelfName, Shelves
from coe_retrieval.term import Reading, terms
from coe_retrieval.vault import Vault

if TYPE_CHECKING:
    from coe_retrieval.shelf import Shelf

T = TypeVar("T")


@frozen(kw_only=True)
class Embedded:
    """How far a round of embedding has come."""

    contents: int = 0
    failed: Mapping[str, str] = field(factory=dict)
    """Layer to the code of the error that ended the work on it."""


LOOK_AGAIN_S = 5.0
"""How often the vault is asked for vectors that another process may have put there."""


@define(eq=False)
class PassageIndex:
    """Finds passages by their words at once and, as they are embedded, by their meaning.

    It is made of the store and the log whenever a process starts; only vectors are kept. What
    computes or waits for a disk runs on one thread of its own.
    """

    store: KnowledgeStore
    reader: RecordReader
    clock: Clock
    embedding: Embedding
    vault: Vault
    reranking: Reranking | None = None
    reading: Reading = terms
    embed: Callable[[Runner | None], AsyncIterator[Embedded]] | None = field(
        default=None, init=False
    )
    """What a rebuild ends with; None where nobody embeds."""
    shelves: Shelves = field(init=False)
    embedders: Sequence[str] = field(default=("",), init=False)
    """Whose vectors shelves may have: first of all those of the embedder in force."""
    follows_log: bool = field(default=False, init=False)
    """From the first search for earlier turns on."""
    _whole_s: float = field(default=0.0, init=False)
    """When all that was on the shelves had a vector, the last time that somebody looked."""
    _looked_s: dict[ShelfName, float] = field(factory=dict, init=False)
    _lock: asyncio.Lock = field(factory=asyncio.Lock, init=False)
    _begun: int = field(default=0, init=False)
    _followed: int = field(default=0, init=False)
    """How often the store and the log were begun to be read, and which of these was done last."""
    _thread: ThreadPoolExecutor = field(init=False)
    _arranging: asyncio.Task[None] | None = field(default=None, init=False)

    @shelves.default
    def _(self) -> Shelves:
        return Shelves(self.reading)

    @_thread.default
    def _(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(1, thread_name_prefix="retrieval")

    @property
    def lag_s(self) -> float:
        """How long the first passage that has no vector has waited for it."""
        waits = any(shelf.pending for shelf in self.shelves.by_name.values())
        return self.clock.monotonic_s() - self._whole_s if waits else 0.0

    async def close(self) -> None:
        """Let the thread end."""
        if self._arranging is not None:
            self._arranging.cancel()
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def search(self, query: SearchQuery, *, parent: Payer) -> Sequence[Passage]:
        """Find passages."""
        self.follows_log = self.follows_log or query.session_topk > 0
        await self.follow([*embedders(parent.application)])
        shelves, now, reranking = self.shelves, self.clock.now(), self.reranking
        if not shelves.sought(query):
            return []
        wide = reranking.widened(query) if reranking is not None else query
        meanings: dict[str, Meaning | None] = {"": None}
        found: Sequence[Passage] | None = None
        while found is None:
            sought = shelves.sought(query).values()  # A shelf may be another than a moment ago.
            for name in {s.embedder for s in sought if s.has_vectors} - meanings.keys():
                meanings[name] = await self.embedding.question(query.text, name, parent)
            found = await self.compute(partial(shelves.search, wide, meanings, now))
        return await reranking.best(query, found, now, parent) if reranking and found else found

    async def rebuild(self, runner: Runner | None = None) -> AsyncIterator[Indexed]:
        """Read the store and the log anew; vectors of contents that are still there are kept."""
        fresh = Shelves(self.reading)
        async for changes in self.store.follow():
            await self.compute(partial(fresh.change, changes))
            yield Indexed(done=0, total=len(fresh))
        async with self._lock:
            await self._read(fresh)
            self._looked_s.clear()
            await self._load(fresh)
            self.shelves = fresh
        total, told = len(fresh), Embedded()
        if self.embed is not None:
            found = total - fresh.waiting(self.embedder)
            async for told in self.embed(runner):
                yield Indexed(done=min(found + told.contents, total), total=total)
        yield Indexed(done=total, total=total, failed=told.failed)

    @property
    def embedder(self) -> str:
        """Whose vectors the shelves have, or are to get."""
        return self.embedders[0]

    async def follow(self, embedders: Sequence[str]) -> None:
        """Take in what has changed in the store and in the log, and the vectors that are there."""
        asked = self._begun
        async with self._lock:
            if self._followed > asked and embedders == self.embedders:
                return  # Begun after this was asked for, it has seen all that this would.
            self._begun += 1
            begun = self._begun
            if not any(shelf.pending for shelf in self.shelves.by_name.values()):
                self._whole_s = self.clock.monotonic_s()
            if embedders != self.embedders:
                self.embedders = embedders
                self._looked_s.clear()
            try:
                await self._read(self.shelves)
            except Conflict:  # Another store or log than before: a backup was restored.
                fresh = Shelves(self.reading)
                await self._read(fresh)
                self.shelves = fresh
            await self._load(self.shelves)
            self._followed = begun
        if self._arranging is None or self._arranging.done():
            stale = [shelf for shelf in self.shelves.by_name.values() if shelf.stale]
            self._arranging = asyncio.create_task(self._arrange(stale)) if stale else None

    async def compute(self, work: Callable[[], T]) -> T:
        """Run something on the index's thread."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def _read(self, shelves: Shelves) -> None:
        async for changes in self.store.follow(shelves.store_cursor):
            await self.compute(partial(shelves.change, changes))
        if self.follows_log:
            async for stretch in self.reader.follow(shelves.log_cursor):
                await self.compute(partial(shelves.record, stretch.records, stretch.cursor))

    async def _load(self, shelves: Shelves) -> None:
        """Fetch the vectors that shelves lack, if it is long since they were looked for."""
        now_s = self.clock.monotonic_s()
        for name, shelf in shelves.by_name.items():
            is_behind = shelf.pending or shelf.embedder != self.embedder
            if is_behind and self._looked_s.get(name, -LOOK_AGAIN_S) + LOOK_AGAIN_S <= now_s:
                self._looked_s[name] = now_s
                await self.compute(partial(self.fetch, name, shelf))

    async def _arrange(self, shelves: Sequence[Shelf]) -> None:
        """Put the vectors of large shelves in cells; meanwhile they are searched as they were."""
        for shelf in shelves:
            if (stale := shelf.stale) is not None:
                arranged = await asyncio.to_thread(stale.arranged)
                await self.compute(partial(shelf.arrange, stale, arranged))

    def fetch(self, name: ShelfName, shelf: Shelf) -> None:
        """Give a shelf the vectors that the vault has; blocks, so only for `compute`.

        While the vault has not all of the embedder in force, the shelf keeps those of another.
        """
        key = layer_key(name)
        if shelf.embedder == self.embedder:
            wanted = {digest(text) for text in shelf.pending.values()}
            shelf.keep(self.vault.load(key, shelf.embedder, wanted))
            return
        contents = shelf.contents.keys()
        if contents <= self.vault.digests(key, self.embedder):
            found = self.vault.load(key, self.embedder, contents)
            if len(found) == len(contents):
                shelf.exchange(self.embedder, found)
                return
        if shelf.embedder not in self.embedders or not shelf.has_vectors:
            loaded = {each: self.vault.load(key, each, contents) for each in self.embedders}
            best = max(loaded, key=lambda each: len(loaded[each]))  # Of equals the first.
            shelf.exchange(best, loaded[best])

    def lacking(self, name: ShelfName, shelf: Shelf) -> Sequence[str]:
        """Return the contents that the embedder in force has yet to embed; blocks."""
        if shelf.embedder == self.embedder:
            return list(dict.fromkeys(shelf.pending.values()))
        contents = shelf.contents
        known = self.vault.digests(layer_key(name), self.embedder)
        return [text for key, text in contents.items() if key not in known]


def layer_key(name: ShelfName) -> str:
    """Name a shelf in the vault."""
    layer, of_turns = name
    return f"{layer}/turns" if of_turns else layer
