"""The lines of the log that the database keeps, for when the machine that has them is not there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from hashlib import sha256

from coe_core.record import Pointer
from coe_records import compacted
from coe_records.database import Connection
from coe_records.disk import Disk, replace
from coe_records.envelope import Damaged, parse
from coe_records.log import Log

_LINES = "SELECT offset_bytes, line FROM lines WHERE segment = ? ORDER BY offset_bytes"
_LINE = "SELECT line FROM lines WHERE segment = ? AND offset_bytes = ?"


def line_at(connection: Connection, place: Pointer) -> bytes | None:
    """Return what is kept of a place."""
    found = connection.execute(_LINE, [place.segment, place.offset]).fetchone()
    return found[0] if found else None


def lost_lines(connection: Connection, log: Log, segment: str) -> Iterator[Pointer]:
    """Yield where a segment of ours has no line and a whole one is kept. One that lies behind the
    segment's end is among them only if all between is.
    """
    if compacted.place(log.events / segment).exists():
        return  # Then Parquet's own checksums tell.
    end = log.size(segment)
    for offset, line in connection.execute(_LINES, [segment]):
        if offset > end:
            return
        checksum = sha256(line).hexdigest()
        at = Pointer(segment=segment, offset=offset, length=len(line), sha256=checksum)
        if _is_whole(line) and not _is_whole_at(log, at):
            yield at
            end = max(end, offset + len(line))


def take_back(connection: Connection, log: Log, lost: Pointer) -> None:
    """Write a line that is kept to where it was, after what is there is kept beside it. What is
    torn in doing so is done again.
    """
    line = line_at(connection, lost)
    path, disk = log.events / lost.segment, Disk()
    if line is None:
        return
    if path.exists() and (there := log.raw(lost)):
        replace(disk, path.with_name(f"{path.name}.{lost.offset}.damaged"), there)
    path.parent.mkdir(exist_ok=True)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.pwrite(fd, line, lost.offset)
        disk.sync(fd)
    finally:
        os.close(fd)
    for folder in (path.parent, path.parent.parent):
        disk.sync_folder(folder)


def _is_whole(line: bytes) -> bool:
    """Whether bytes are a line."""
    try:
        parse(line)
    except Damaged:
        return False
    return True


def _is_whole_at(log: Log, place: Pointer) -> bool:
    try:
        return _is_whole(log.raw(place))
    except FileNotFoundError:
        return False
