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

from coe_core.codec import decode, encode
from coe_core.error import StartRefused

if TYPE_CHECKING:
    from coe_records.log import Entry

SUFFIX = ".parquet"
GROUP_BYTES = 1 << 19
"""A row group ends with the line that reaches this size: what is read for a single record."""
SIZE_BYTES, STARTS = b"size_bytes", b"starts"
"""In the file's metadata: how long the segment was, and at which byte each row group begins."""
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
        }
    )
    starts = []
    with parquet.ParquetWriter(
        path,
        schema,
        compression="zstd",
        compression_level=LEVEL,
        use_dictionary=["kind", "writer"],
        write_page_checksum=True,
    ) as writer:
        for rows in _groups(entries):
            starts.append(rows[0]["offset_bytes"])
            writer.write_table(pyarrow.Table.from_pylist(rows, schema=schema))
        # Not as statistics of a column: the library ends the process where those are damaged.
        writer.add_key_value_metadata({STARTS: encode(starts), SIZE_BYTES: str(size_bytes)})


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
            self._starts, self.end = _extents(self._file.metadata)
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


def _extents(facts: Any) -> tuple[list[int], int]:
    """Read from a file's metadata where each row group begins, and where the last one ends. Raises
    `ValueError` unless each may be so long: a length that one bit made too great has no end.
    """
    starts: list[int] = decode(facts.metadata[STARTS])
    end = int(facts.metadata[SIZE_BYTES])
    groups = map(facts.row_group, range(facts.num_row_groups))
    for group, start, stop in zip(groups, starts, [*starts[1:], end], strict=True):
        if not 0 < stop - start <= group.total_byte_size:
            raise ValueError(f"no row group has {stop - start} bytes")
    if starts[0] != 0:
        raise ValueError(f"it begins at byte {starts[0]}")
    return starts, end


def _libraries() -> tuple[Any, Any]:
    try:
        pyarrow: Any = import_module("pyarrow")
        parquet: Any = import_module("pyarrow.parquet")
    except ImportError as error:
        raise StartRefused(
            "compacted segments need a package more: pip install 'coe-records[parquet]'"
        ) from error
    return pyarrow, parquet
