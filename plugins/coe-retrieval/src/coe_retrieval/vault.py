"""The vault: vectors on disk or in object storage, so that a content is embedded once.

There is a LanceDB table for each layer and embedder, keyed by the digest of the content. It is a
cache: what cannot be read is thrown away and embedded again, so a table that a killed process left
half written costs time and nothing else.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from attrs import define, field
from loguru import logger

from coe_retrieval.array import Rows, Vector

FEW = 500
"""So many contents are looked up one by one; for more, the whole table is read."""
OLD = timedelta(hours=1)
"""By then nobody reads an earlier version of a table any more."""


@define(eq=False)
class Vault:
    """Keeps vectors. Its methods block: not to be called on the event loop."""

    uri: str
    """A folder, or an address such as `s3://bucket/path`."""
    storage_options: Mapping[str, str] = field(factory=dict, repr=False)
    _connection: Any = field(default=None, init=False)

    def load(self, layer: str, embedder: str, wanted: Collection[str]) -> dict[str, Vector]:
        """Return the vectors that are kept of some contents."""
        name = table_name(layer, embedder)
        try:
            if not wanted or self._is_empty or (table := self._table(name)) is None:
                return {}
            found = table.to_arrow() if len(wanted) > FEW else _select(table, wanted)
            return {digest: row for b in found.to_batches() for digest, row in _rows(b, wanted)}
        except Exception as error:
            self._give_up(name, error)
            return {}

    def digests(self, layer: str, embedder: str) -> frozenset[str]:
        """Return of which contents vectors are kept: far less is read than the vectors."""
        name = table_name(layer, embedder)
        try:
            if self._is_empty or (table := self._table(name)) is None:
                return frozenset()
            kept = table.search().select(["digest"]).limit(table.count_rows()).to_arrow()
            return frozenset(kept["digest"].to_pylist())
        except Exception as error:
            self._give_up(name, error)
            return frozenset()

    def save(self, layer: str, embedder: str, digests: Sequence[str], rows: Rows) -> None:
        """Keep vectors; where the table's are of another length, in their place."""
        name = table_name(layer, embedder)
        data = _arrow(digests, rows)
        try:
            table = self._table(name)
            if table is not None and table.schema.field("vector").type.list_size != rows.shape[1]:
                self._connected().drop_table(name)
                table = None
            if table is None:
                self._connected().create_table(name, data)
                return
            table.merge_insert("digest").when_not_matched_insert_all().execute(data)
        except Exception as error:
            self._give_up(name, error)
            self._connected().create_table(name, data, mode="overwrite")

    def tidy(self, layer: str, embedder: str, used: Collection[str]) -> None:
        """Forget the vectors of contents that are gone, and put small pieces together."""
        gone = [digest for digest in self.digests(layer, embedder) if digest not in used]
        if self._is_empty or (table := self._table(table_name(layer, embedder))) is None:
            return
        for at in range(0, len(gone), FEW):
            table.delete(_any_of(gone[at : at + FEW]))
        table.optimize(cleanup_older_than=OLD)

    @property
    def _is_empty(self) -> bool:
        """Whether nothing was ever kept here: then LanceDB, a second of imports, is not needed."""
        return "://" not in self.uri and not Path(self.uri).is_dir()

    def _table(self, name: str) -> Any:
        try:
            return self._connected().open_table(name)
        except ValueError:  # LanceDB's word for a table that is not there.
            return None

    def _connected(self) -> Any:
        if self._connection is None:
            import lancedb

            options = dict(self.storage_options) or None
            self._connection = lancedb.connect(self.uri, storage_options=options)
        return self._connection

    def _give_up(self, name: str, error: Exception) -> None:
        logger.bind(table=name, error=str(error)).warning("vectors cannot be read: embedded anew")
        self._connected().drop_table(name, ignore_missing=True)


def table_name(layer: str, embedder: str) -> str:
    """Name a table so that a listing tells nobody the names of groups."""
    return hashlib.sha256(f"{layer}\0{embedder}".encode()).hexdigest()[:40]


def _any_of(digests: Iterable[str]) -> str:
    listed = ", ".join(f"'{digest}'" for digest in digests)
    return f"digest IN ({listed})"


def _select(table: Any, wanted: Collection[str]) -> Any:
    return table.search().where(_any_of(wanted)).limit(len(wanted)).to_arrow()


def _arrow(digests: Sequence[str], rows: Rows) -> Any:
    import numpy as np
    import pyarrow as pa  # type: ignore[import-untyped]

    flat = pa.array(np.ascontiguousarray(rows, np.float32).ravel())
    vectors = pa.FixedSizeListArray.from_arrays(flat, rows.shape[1])
    return pa.table({"digest": list(digests), "vector": vectors})


def _rows(batch: Any, wanted: Collection[str]) -> Iterator[tuple[str, Vector]]:
    vectors = batch["vector"]
    width = vectors.type.list_size
    rows = vectors.flatten().to_numpy().reshape(-1, width)
    for digest, row in zip(batch["digest"].to_pylist(), rows, strict=True):
        if digest in wanted:
            yield digest, row
