"""The log as its readers see it: a folder of segments."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext, suppress
from hashlib import sha256
from io import BufferedReader, RawIOBase
from pathlib import Path
from typing import TypeAlias

from attrs import frozen
from msgspec import Struct

from coe_core.error import RecordDamaged
from coe_core.record import Pointer
from coe_records import compacted
from coe_records.envelope import Damaged, Line, parse

BLOCK_BYTES = 1 << 16
"""How much is read at a time."""

Tell: TypeAlias = Callable[[int], None]
"""Hears of each number of bytes of the log, or of what else is counted, that was worked through."""


def untold(_more: int) -> None:
    """Tell nobody."""


Show: TypeAlias = Callable[[str, int], AbstractContextManager[Tell]]
"""Makes a `Tell` for a stage of the work, of its name and of how much there is in all."""


def unshown(_stage: str, _length: int) -> AbstractContextManager[Tell]:
    """Show nothing."""
    return nullcontext(untold)


class Entry(Struct, frozen=True, gc=False):
    """What stands at a place in a segment: a line, or bytes that are none, and why not."""

    pointer: Pointer
    line: Line | None
    raw: bytes
    fault: str = ""

    @property
    def end(self) -> int:
        """Where the next one begins."""
        return self.pointer.offset + self.pointer.length


@frozen
class Log:
    """Reads segments. Holds no file open."""

    events: Path

    @property
    def id_file(self) -> Path:
        """What the file is called that `id` is in."""
        return self.events / "id"

    @property
    def id(self) -> str | None:
        """What tells this log from those of other machines; None if nobody has written to it."""
        try:
            return self.id_file.read_text(encoding="ascii").strip()
        except FileNotFoundError:
            return None

    def segments(self) -> list[str]:
        """List the segments, by day and name."""
        compact = self.events.glob(f"*/interactions*{compacted.SUFFIX}")
        found = {path.with_suffix(".jsonl") for path in compact}
        found.update(self.events.glob("*/interactions*.jsonl"))
        return sorted(path.relative_to(self.events).as_posix() for path in found)

    def size(self, segment: str) -> int:
        """Tell how long a segment is, in bytes; 0 if there is none."""
        try:
            return (self.events / segment).stat().st_size
        except FileNotFoundError:
            path = self.events / segment
            return compacted.size(path) if compacted.place(path).exists() else 0

    def open(self, segment: str) -> BufferedReader:
        """Open a segment, to be read anywhere."""
        path = self.events / segment
        try:
            raw: RawIOBase = path.open("rb", buffering=0)
        except FileNotFoundError:
            if not compacted.place(path).exists():
                raise
            raw = compacted.CompactedSegment(compacted.place(path))
        return BufferedReader(raw, BLOCK_BYTES)

    def entries(self, segment: str, start: int = 0, end: int | None = None) -> Iterator[Entry]:
        """Read a segment from one offset to another, line by line."""
        offset, stop = start, self.size(segment) if end is None else end
        with self.open(segment) as file:
            file.seek(start)
            while offset < stop and (raw := file.readline(stop - offset)):
                yield entry_of(segment, offset, raw)
                offset += len(raw)

    def lines(self, segment: str, start: int = 0) -> int:
        """Count the lines of a segment from an offset on, whatever is in them."""
        with self.open(segment) as file:
            file.seek(start)
            return sum(1 for _ in file)

    def first(self, segment: str) -> Line | None:
        """Read the first line of a segment, if it has a whole one."""
        entry = next(self.entries(segment), None)
        return entry.line if entry is not None else None

    def last(self, segment: str, end: int) -> Line | None:
        """Read the line that ends at an offset, if a whole one does."""
        if not 0 < end <= self.size(segment):
            return None
        reach, raw = BLOCK_BYTES, b""
        with self.open(segment) as file:
            while len(raw) < end and b"\n" not in raw[:-1]:
                file.seek(max(0, end - reach))
                raw = file.read(min(reach, end))
                reach *= 2
        try:
            return parse(raw[raw.rfind(b"\n", 0, -1) + 1 :])
        except Damaged:
            return None

    def read(self, pointer: Pointer) -> Line:
        """Read the line at a pointer. Raises `RecordDamaged` unless it is the one pointed to."""
        where = f"{pointer.segment} at byte {pointer.offset}"
        try:
            return checked(self.raw(pointer), pointer)
        except (OSError, Damaged) as error:
            raise RecordDamaged(
                f"the record in {where} cannot be read: {error}; `coe records verify` lists "
                "all that is damaged"
            ) from error

    def line(self, pointer: Pointer, copy: bytes | None) -> Line:
        """Read the line at a pointer, from a copy if that is whole. Raises `RecordDamaged`."""
        if copy is not None:
            with suppress(Damaged):
                return checked(copy, pointer)
        return self.read(pointer)

    def raw(self, pointer: Pointer) -> bytes:
        """Read the bytes at a pointer, whatever they are."""
        try:
            fd = os.open(self.events / pointer.segment, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            with self.open(pointer.segment) as file:
                file.seek(pointer.offset)
                return file.read(pointer.length)
        try:
            # Room is made for as much as is asked for, and a damaged row may ask for any amount.
            left = max(0, os.fstat(fd).st_size - pointer.offset)
            return os.pread(fd, min(pointer.length, left), pointer.offset)
        finally:
            os.close(fd)


def checked(raw: bytes, pointer: Pointer) -> Line:
    """Read a line. Raises `Damaged` unless it is the one that a pointer means."""
    if sha256(raw).hexdigest() != pointer.sha256:
        raise Damaged("the bytes there do not have the checksum that the database gives")
    return parse(raw)


def entry_of(segment: str, offset: int, raw: bytes) -> Entry:
    """Read what stands at a place."""
    pointer = Pointer(
        segment=segment, offset=offset, length=len(raw), sha256=sha256(raw).hexdigest()
    )
    try:
        return Entry(pointer, parse(raw), raw)
    except Damaged as damage:
        return Entry(pointer, None, raw, str(damage))
