"""Reads the log on from a cursor: how far each of its segments was read."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from itertools import islice

from attrs import NOTHING, fields, frozen
from sqlalchemy import Connection, select

from coe_core.codec import decode, encode, structure
from coe_core.error import Conflict
from coe_core.record import Interaction, Record
from coe_core.service import Stretch
from coe_records.envelope import Line
from coe_records.log import Entry, Log, entry_of
from coe_records.table import lines, segments
from coe_records.writer import KINDS, Repair

STRETCH_LINES = 500

_CLASSES = {kind: cls for cls, kind in KINDS.items() if cls is not Repair}
_DEFAULTED = {each.name for each in fields(Interaction) if each.default is not NOTHING}


@frozen
class Follower:
    """Reads what is in the database as well: what a crash left behind that may be torn. What is in
    the logs of other machines is read from the lines that the database keeps.
    """

    _log: Log
    _without: Collection[str]
    """Fields of interactions that are left at their defaults."""

    def next(self, connection: Connection, cursor: str) -> Stretch | None:
        """Return the records behind a cursor, some hundred of them, None when there are none."""
        extents = ends(connection)
        read = _read(cursor, extents)
        entries: list[Entry] = []
        for path, end in extents.items():
            start, wanted = read.get(path, 0), STRETCH_LINES - len(entries)
            if start < end and wanted:
                found = list(islice(self._entries(connection, path, start, end), wanted))
                last = found[-1].pointer if found else None
                read[path] = last.offset + last.length if last else end
                entries += found
        if not entries:
            return None
        whole = [entry.line for entry in entries if entry.line is not None]
        records = tuple(record for line in whole for record in records_of(line, self._without))
        return Stretch(records=records, cursor=encode(read).decode())

    def _entries(self, connection: Connection, path: str, start: int, end: int) -> Iterator[Entry]:
        try:
            yield from self._log.entries(path, start, end)
        except FileNotFoundError:
            yield from kept_entries(connection, path, start, end)


def kept_entries(connection: Connection, path: str, start: int, end: int) -> Iterator[Entry]:
    """Read a segment from one offset to another in the lines that are kept of it."""
    query = (
        select(lines.c.offset_bytes, lines.c.line)
        .where(lines.c.segment == path, lines.c.offset_bytes.between(start, end - 1))
        .order_by(lines.c.offset_bytes)
        .limit(STRETCH_LINES)
    )
    for offset, line in connection.execute(query):
        yield entry_of(path, offset, line)


def records_of(line: Line, without: Collection[str] = ()) -> Iterator[Record]:
    """Yield what a line tells: its record, or those that it restores; none of an unknown kind."""
    told = {line.kind: decode(line.body)}
    if line.kind == "repair":
        told = told["repair"].get("restored", {})
    for kind, body in told.items():
        if kind in _CLASSES and body is not None:  # A body may have been erased.
            if kind == "interaction":
                for name in _DEFAULTED.intersection(without):
                    body.pop(name, None)
            yield structure(body, _CLASSES[kind])


def ends(connection: Connection) -> dict[str, int]:
    """Tell how far each segment goes, each writer's in the order of its chain."""
    query = select(segments.c.path, segments.c.end_bytes).order_by(
        segments.c.writer, segments.c.first_seq
    )
    return {row.path: row.end_bytes for row in connection.execute(query)}


def _read(cursor: str, ends: Mapping[str, int]) -> dict[str, int]:
    read: dict[str, int] = decode(cursor.encode()) if cursor else {}
    if any(offset > ends.get(path, 0) for path, offset in read.items()):
        raise Conflict("the cursor is of another log: begin again without one")
    return read
