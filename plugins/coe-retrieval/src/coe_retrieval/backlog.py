"""The backlog: what waits to be embedded, worked off in chunks, in this process or in others.

A chunk is some contents of one layer; what is kept of it is keyed by the contents' digests. So
whoever is killed loses the chunks that were under way, and nothing is embedded twice that was kept.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from functools import partial

from attrs import define

from coe_core.application import Application
from coe_core.error import CoeError
from coe_core.job import working
from coe_core.message import Json
from coe_core.runner import LocalRunner, Runner
from coe_core.service import Deployment, Embedder
from coe_core.turn import GLOBAL
from coe_retrieval.content import digest
from coe_retrieval.embedding import BATCH, Embedding, embedders
from coe_retrieval.index import Embedded, PassageIndex, layer_key
from coe_retrieval.shelves import ShelfName

JOB = "embed-passages"
CHUNK = 256
"""Contents between two writes: what a kill may cost, against the cost of a write."""


async def embed_chunk(application: Application, chunk: Json) -> Json:
    """Embed the texts of a chunk, at its group's expense; what came before a failure is kept."""
    import numpy as np

    embedding, texts, rows, code = Embedding(application.need(Embedder)), chunk["texts"], [], ""
    try:
        async with working(application, JOB, chunk["group"]) as work:
            for at in range(0, len(texts), BATCH):
                batch = texts[at : at + BATCH]
                rows.append(await embedding.passages(batch, chunk["embedder"], work))
    except CoeError as error:
        code = error.code
    found = np.concatenate(rows).astype("<f4") if rows else np.zeros((0, 1), "<f4")
    vectors = b64encode(found.tobytes()).decode()
    return {"vectors": vectors, "dimensions": found.shape[1], "error": code}


@define(eq=False)
class EmbeddingJob:
    """A `Job`: embeds what came to the shelves since the last round, each content once."""

    index: PassageIndex
    deployment: Deployment
    payer: str
    """The group that pays for the layer `global`."""
    every: timedelta
    name: str = JOB

    async def run(self) -> Json:
        """Embed what is pending. A group whose budget is used up, or whose embedder fails, waits
        for the next round; the others do not wait for it.
        """
        *_, last = [Embedded(), *[told async for told in self.embed()]]
        return {"embedded": last.contents, "failed": dict(last.failed)}

    async def embed(self, runner: Runner | None = None) -> AsyncIterator[Embedded]:
        """Embed what is pending by a runner, telling after each chunk how far that is."""
        contents, failed, touched = 0, dict[str, str](), set[ShelfName]()
        index = self.index
        async with self.deployment.lease() as application:
            await index.follow([*embedders(application)])
            runner = runner or LocalRunner(application)
            async for chunk, result in runner.run(embed_chunk, self._chunks(failed)):
                if isinstance(result, Exception) and not isinstance(result, CoeError):
                    raise result
                name: ShelfName = (chunk["layer"], chunk["of_turns"])
                if isinstance(result, CoeError):
                    failed[layer_key(name)] = result.code
                else:
                    if result["error"]:
                        failed[layer_key(name)] = result["error"]
                    contents += await index.compute(partial(self._keep, name, chunk, result))
                touched.add(name)
                yield Embedded(contents=contents, failed=failed)
            for name in touched:
                await index.compute(partial(self._finish, name))

    async def _chunks(self, failed: Mapping[str, str]) -> AsyncIterator[Json]:
        """Yield what is to be embedded; of a layer in which something has failed, no more."""
        index, embedder = self.index, self.index.embedder
        for name, shelf in list(index.shelves.by_name.items()):
            if not shelf.pending and shelf.embedder == embedder:
                continue
            await index.compute(partial(index.fetch, name, shelf))
            lacking = await index.compute(partial(index.lacking, name, shelf))
            layer, of_turns = name
            group = self.payer if layer == GLOBAL else layer.removeprefix("group:")
            for at in range(0, len(lacking), CHUNK):
                if layer_key(name) in failed:
                    break
                texts = lacking[at : at + CHUNK]
                paid = {"group": group, "embedder": embedder, "texts": texts}
                yield {"layer": layer, "of_turns": of_turns} | paid

    def _keep(self, name: ShelfName, chunk: Json, result: Json) -> int:
        """Keep what came of a chunk, and return how many contents that is."""
        import numpy as np

        vectors = np.frombuffer(b64decode(result["vectors"]), "<f4")
        rows = vectors.reshape(-1, result["dimensions"])
        if not len(rows):
            return 0
        digests = [digest(text) for text in chunk["texts"][: len(rows)]]
        self.index.vault.save(layer_key(name), chunk["embedder"], digests, rows)
        shelf = self.index.shelves.by_name[name]
        if shelf.embedder == chunk["embedder"]:
            shelf.keep(dict(zip(digests, rows, strict=True)))
        return len(rows)

    def _finish(self, name: ShelfName) -> None:
        """Give the shelf what it has been waiting for, and forget the vectors of what is gone."""
        shelf = self.index.shelves.by_name[name]
        self.index.fetch(name, shelf)
        used = shelf.contents.keys()
        for embedder in self.index.embedders:
            self.index.vault.tidy(layer_key(name), embedder, used)
