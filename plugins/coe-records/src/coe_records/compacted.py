"""A compacted segment: a Parquet file beside the manifest, with every line as it stood. Read as the
segment that it was made from, byte for byte. Needs `coe-records[parquet]`.
"""

from __future__ import annotations

import io
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from coe_core.error import StartRefused

if TYPE_CHECKING:
    from coe_records.log import Entry

SUFFIX = ".parquet"
GROUP_BYTES = 1 << 19
"""A row group ends with the line that reaches this size: what is read for a single record."""
LEVEL = 9
"""Of zstd: five times slower to write than the default, as fast to read, a fifth smaller."""


class _Sealed(msgspec.Struct):
    size_bytes: int


def place(segment: Path) -> Path:
    """Tell where a segment's compacted form is."""
    return segment.with_suffix(SUFFIX)


def size(segment: Path) -> int:
    """Tell how long the segment was: as the manifest has it, which is quicker read than Parquet."""
    sealed = _sealed_size(segment)
    if sealed is not None:
        return sealed
    with CompactedSegment(place(segment)) as file:
        return file.end


def _sealed_size(path: Path) -> int | None:
    try:
        text = path.with_suffix(".manifest.json").read_bytes()
        return msgspec.json.decode(text, type=_Sealed).size_bytes
    except (OSError, msgspec.DecodeError):
        return None


def write(path: Path, entries: Iterable[Entry], size_bytes: int) -> None:
    """Write whole lines to a Parquet file, a row each."""
    pyarrow, parquet = _libraries()
    schema = pyarrow.schema(
        {
            "kind": pyarrow.string(),
            "writer": pyarrow.string(),
            "seq": pyarrow.int64(),
            "at": pyarrow.string(),
            "offset_bytes": pyarrow.int64(),
            "raw": pyarrow.binary(),
        },
        metadata={"size_bytes": str(size_bytes)},
    )
    with parquet.ParquetWriter(
        path,
        schema,
        compression="zstd",
        compression_level=LEVEL,
        use_dictionary=["kind", "writer"],
        write_page_checksum=True,
    ) as writer:
        for rows in _groups(entries):
            writer.write_table(pyarrow.Table.from_pylist(rows, schema=schema))


def _groups(entries: Iterable[Entry]) -> Iterator[list[dict[str, Any]]]:
    rows, length = [], 0
    for entry in entries:
        line = entry.line
        if line is None:
            raise ValueError(f"byte {entry.pointer.offset}: {entry.fault}")
        own = {name: getattr(line, name) for name in ("kind", "writer", "seq", "at", "raw")}
        rows.append({**own, "offset_bytes": entry.pointer.offset})
        length += len(line.raw)
        if length >= GROUP_BYTES:
            yield rows
            rows, length = [], 0
    if rows:
        yield rows


class CompactedSegment(io.RawIOBase):
    """The segment's bytes. What of the file cannot be read any more is zeros, which no reader takes
    for a line: they look at checksums.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        self._at = 0
        self._group: tuple[int, bytes] | None = None
        _, parquet = _libraries()
        try:
            self._file: Any = parquet.ParquetFile(path, page_checksum_verification=True)
            facts = self._file.metadata
            column = self._file.schema_arrow.get_field_index("offset_bytes")
            self._starts = [
                facts.row_group(number).column(column).statistics.min
                for number in range(facts.num_row_groups)
            ]
            self.end = int(self._file.schema_arrow.metadata[b"size_bytes"])
        except FileNotFoundError:
            raise
        except Exception:  # Whatever the library says of bytes that were changed.
            self._file, self._starts, self.end = None, [0], _sealed_size(path) or 0

    def readable(self) -> bool:
        """Say yes."""
        return True

    def seekable(self) -> bool:
        """Say yes."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go somewhere."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self.end}[whence]
        self._at = base + offset
        return self._at

    def tell(self) -> int:
        """Tell where we are."""
        return self._at

    def readinto(self, buffer: Any) -> int:
        """Read some bytes, within one row group."""
        if self._at >= self.end:
            return 0
        number = bisect_right(self._starts, self._at) - 1
        group = self._read(number)
        start = self._at - self._starts[number]
        piece = group[start : start + len(buffer)]
        buffer[: len(piece)] = piece
        self._at += len(piece)
        return len(piece)

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
        super().close()

    def _read(self, number: int) -> bytes:
        if self._group is None or self._group[0] != number:
            stop = [*self._starts, self.end][number + 1]
            length = stop - self._starts[number]
            try:
                column = self._file.read_row_group(number, columns=["raw"]).column("raw")
                raw = b"".join(column.to_pylist())
            except Exception:  # Whatever the library says of bytes that were changed.
                raw = b""
            self._group = (number, raw[:length].ljust(length, b"\0"))
        return self._group[1]


def _libraries() -> tuple[Any, Any]:
    try:
        pyarrow: Any = import_module("pyarrow")
        parquet: Any = import_module("pyarrow.parquet")
    except ImportError as error:
        raise StartRefused(
            "compacted segments need a package more: pip install 'coe-records[parquet]'"
        ) from error
    return pyarrow, parquet
