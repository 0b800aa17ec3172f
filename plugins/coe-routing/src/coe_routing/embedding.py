"""Vectors of texts: asked of the deployment's embedder, and kept for the examples of the routes."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from zipfile import BadZipFile

from attrs import field, frozen
from loguru import logger

from coe_core.codec import canonical
from coe_core.model import Vectors
from coe_core.service import Embedder
from coe_core.turn import Turn
from coe_routing.array import Array

HEAD, TAIL = 1500, 500
"""Of a longer text, so many of its first and last characters are embedded: a request stands before
or after what it is about.
"""
BATCH = 64
KEPT_FILES = 16
"""How many sets of examples are kept on disk; the ones used last."""


def clipped(text: str) -> str:
    """Cut the middle out of a long text."""
    return text if len(text) <= HEAD + TAIL else f"{text[:HEAD]}\n{text[-TAIL:]}"


@frozen
class Embedders:
    """The embedders that a request is shown to: the deployment's, and perhaps a second one."""

    embedder: Embedder
    second: str | None = None

    def aliases(self, turn: Turn) -> tuple[str, ...]:
        """Name them."""
        first = turn.application.settings.coe.embedder
        return (first,) if self.second is None else (first, self.second)

    async def vectors(self, texts: Sequence[str], turn: Turn) -> list[Array]:
        """Return one array an embedder, one row a text. Raises what the embedders raise."""
        cut = [clipped(text) for text in texts]
        found = [await self._batch(cut[at : at + BATCH], turn) for at in range(0, len(cut), BATCH)]
        import numpy as np

        return [np.concatenate(parts) for parts in zip(*found, strict=True)]

    async def _batch(self, texts: list[str], turn: Turn) -> list[Array]:
        embed = partial(self.embedder.embed, texts, purpose="query", parent=turn)
        calls = [embed()] if self.second is None else [embed(), embed(model=self.second)]
        return [_array(vectors) for vectors in await asyncio.gather(*calls)]


def _array(vectors: Vectors) -> Array:
    import numpy as np

    return np.frombuffer(vectors.data, "<f4").reshape(-1, vectors.dimensions)


@frozen
class Shelf:
    """The examples' vectors: in memory and, by a hash of the texts and of who embedded them, on
    disk, so that a start with the routes of last time embeds nothing.
    """

    folder: Path
    _rows: dict[tuple[str, str], tuple[Array, ...]] = field(factory=dict, init=False)
    """Embedders and text to its vectors, one an embedder."""

    async def vectors(self, texts: Sequence[str], embedders: Embedders, turn: Turn) -> list[Array]:
        """Return what `embedders` would, asking them for the texts that are new alone."""
        models = [turn.application.models.get(alias) for alias in embedders.aliases(turn)]
        key = "/".join(f"{m.provider}:{m.name}" if m is not None else "?" for m in models)
        file = self.folder / f"{_digest(key, texts)}.npz"
        if self._new(key, texts) and (kept := await asyncio.to_thread(_load, file)) is not None:
            self._put(key, texts, kept)
        if new := self._new(key, texts):
            # Batch by batch: a turn that may wait no longer leaves what it got to the next.
            for at in range(0, len(new), BATCH):
                batch = new[at : at + BATCH]
                self._put(key, batch, await embedders.vectors(batch, turn))
            await asyncio.to_thread(_save, file, self._get(key, texts))
        return self._get(key, texts)

    def _new(self, key: str, texts: Sequence[str]) -> list[str]:
        return [text for text in dict.fromkeys(texts) if (key, text) not in self._rows]

    def _put(self, key: str, texts: Sequence[str], arrays: Sequence[Array]) -> None:
        if all(len(array) == len(texts) for array in arrays):
            for text, rows in zip(texts, zip(*arrays, strict=True), strict=True):
                self._rows[key, text] = rows

    def _get(self, key: str, texts: Sequence[str]) -> list[Array]:
        import numpy as np

        columns = zip(*(self._rows[key, text] for text in texts), strict=True)
        return [np.stack(column) for column in columns]


def _digest(key: str, texts: Sequence[str]) -> str:
    return hashlib.sha256(canonical([key, HEAD, TAIL, list(texts)])).hexdigest()[:32]


def _load(file: Path) -> list[Array] | None:
    import numpy as np

    try:
        with file.open("rb") as opened, np.load(opened) as kept:
            arrays = [kept[name] for name in sorted(kept.files)]
    except (OSError, ValueError, EOFError, BadZipFile):  # Not there, or cut by a full disk.
        return None
    file.touch()
    return arrays


def _save(file: Path, arrays: list[Array]) -> None:
    """Write whole or not at all; a folder that cannot be written costs time at the next start."""
    import numpy as np

    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = file.with_suffix(f".{os.getpid()}.tmp")
        with draft.open("wb") as out:
            np.savez(out, allow_pickle=False, **{f"v{n}": each for n, each in enumerate(arrays)})
        draft.replace(file)
        by_use = sorted(file.parent.glob("*.npz"), key=lambda f: f.stat().st_mtime, reverse=True)
        for old in by_use[KEPT_FILES:]:
            old.unlink(missing_ok=True)
    except OSError as error:
        logger.bind(file=str(file), error=str(error)).warning("vectors of examples are not kept")
