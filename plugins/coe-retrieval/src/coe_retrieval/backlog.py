"""The backlog: what waits to be embedded, worked off in batches by one worker at a time."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

from attrs import define

from coe_core.application import Application
from coe_core.error import CoeError
from coe_core.job import working
from coe_core.message import Json
from coe_core.service import Deployment
from coe_core.turn import GLOBAL
from coe_retrieval.array import Rows
from coe_retrieval.content import digest
from coe_retrieval.embedding import BATCH, embedders
from coe_retrieval.index import PassageIndex, layer_key
from coe_retrieval.shelves import ShelfName

if TYPE_CHECKING:
    from coe_retrieval.shelf import Shelf

SAVED_AT_ONCE = 16
"""Batches between two writes: what a kill may cost, against the cost of a write."""


@define(eq=False)
class EmbeddingJob:
    """A `Job`: embeds what came to the shelves since the last round, each content once."""

    index: PassageIndex
    deployment: Deployment
    payer: str
    """The group that pays for the layer `global`."""
    every: timedelta
    name: str = "embed-passages"

    async def run(self) -> Json:
        """Embed what is pending. A group whose budget is used up, or whose embedder fails, waits
        for the next round; the others do not wait for it.
        """
        embedded, failed = 0, {}
        async with self.deployment.lease() as application:
            await self.index.follow([*embedders(application)])
            for name, shelf in list(self.index.shelves.by_name.items()):
                try:
                    embedded += await self._work_off(application, name, shelf)
                except CoeError as error:
                    failed[layer_key(name)] = error.code
        return {"embedded": embedded, "failed": failed}

    async def _work_off(self, application: Application, name: ShelfName, shelf: Shelf) -> int:
        index, embedder = self.index, self.index.embedder
        if not shelf.pending and shelf.embedder == index.embedder:
            return 0
        await index.compute(partial(index.fetch, name, shelf))
        lacking = await index.compute(partial(index.lacking, name, shelf))
        for at in range(0, len(lacking), BATCH * SAVED_AT_ONCE):
            some = lacking[at : at + BATCH * SAVED_AT_ONCE]
            await self._embed(application, embedder, name, shelf, some)
        if lacking:
            await index.compute(partial(index.fetch, name, shelf))
            await index.compute(partial(self._tidy, name, shelf))
        return len(lacking)

    async def _embed(
        self,
        application: Application,
        embedder: str,
        name: ShelfName,
        shelf: Shelf,
        contents: Sequence[str],
    ) -> None:
        """Embed some contents and keep their vectors, those too that came before a failure."""
        layer, _ = name
        group = self.payer if layer == GLOBAL else layer.removeprefix("group:")
        rows: list[Rows] = []
        try:
            async with working(application, self.name, group) as work:
                for at in range(0, len(contents), BATCH):
                    batch = contents[at : at + BATCH]
                    rows.append(await self.index.embedding.passages(batch, embedder, work))
        finally:
            if rows:
                import numpy as np

                found = np.concatenate(rows)
                keep = partial(self._keep, embedder, name, shelf, contents, found)
                await self.index.compute(keep)

    def _keep(
        self, embedder: str, name: ShelfName, shelf: Shelf, contents: Sequence[str], rows: Rows
    ) -> None:
        digests = [digest(text) for text in contents[: len(rows)]]
        self.index.vault.save(layer_key(name), embedder, digests, rows)
        if shelf.embedder == embedder:
            shelf.keep(dict(zip(digests, rows, strict=True)))

    def _tidy(self, name: ShelfName, shelf: Shelf) -> None:
        used = shelf.contents.keys()
        for embedder in self.index.embedders:
            self.index.vault.tidy(layer_key(name), embedder, used)
