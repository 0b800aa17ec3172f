"""The backlog: what waits to be embedded, worked off in batches by one worker at a time."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING

from attrs import define

from coe_core.application import Application
from coe_core.error import CoeError
from coe_core.job import working
from coe_core.message import Json
from coe_core.service import Deployment
from coe_core.turn import GLOBAL
from coe_retrieval.array import Rows
from coe_retrieval.content import content, digest
from coe_retrieval.embedding import BATCH, embedder_name
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
            await self.index.follow(embedder_name(application))
            for name, shelf in list(self.index.shelves.by_name.items()):
                try:
                    embedded += await self._work_off(application, name, shelf)
                except CoeError as error:
                    failed[layer_key(name)] = error.code
        return {"embedded": embedded, "failed": failed}

    async def _work_off(self, application: Application, name: ShelfName, shelf: Shelf) -> int:
        if shelf.pending:
            await self.index.compute(partial(self.index.fetch, name, shelf))
        count = 0
        while contents := _first(shelf, BATCH * SAVED_AT_ONCE):
            await self._embed(application, name, shelf, contents)
            count += len(contents)
        if count:
            await self.index.compute(partial(self._tidy, name, shelf))
        return count

    async def _embed(
        self, application: Application, name: ShelfName, shelf: Shelf, contents: Sequence[str]
    ) -> None:
        """Embed some contents and keep their vectors, those too that came before a failure."""
        layer, _ = name
        group = self.payer if layer == GLOBAL else layer.removeprefix("group:")
        rows: list[Rows] = []
        try:
            async with working(application, self.name, group) as work:
                for at in range(0, len(contents), BATCH):
                    batch = contents[at : at + BATCH]
                    rows.append(await self.index.embedding.passages(batch, work))
        finally:
            if rows:
                import numpy as np

                found = np.concatenate(rows)
                await self.index.compute(partial(self._keep, name, shelf, contents, found))

    def _keep(
        self,
        name: ShelfName,
        shelf: Shelf,
        contents: Sequence[str],
        rows: Rows,
    ) -> None:
        digests = [digest(text) for text in contents[: len(rows)]]
        self.index.vault.save(layer_key(name), self.index.embedder, digests, rows)
        shelf.keep(dict(zip(digests, rows, strict=True)))

    def _tidy(self, name: ShelfName, shelf: Shelf) -> None:
        used = {digest(content(p)) for p in shelf.passages if p is not None}
        self.index.vault.tidy(layer_key(name), self.index.embedder, used)


def _first(shelf: Shelf, most: int) -> list[str]:
    """Return the contents that wait longest, the same one once."""
    return list(dict.fromkeys(islice(shelf.pending.values(), most)))
