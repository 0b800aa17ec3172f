"""The copies of lines that a database keeps: compared with the log, and made again from it."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from attrs import define

from coe_core.codec import encode
from coe_records import table
from coe_records.body import body_of, group_of
from coe_records.database import Connection
from coe_records.disk import Disk, replace
from coe_records.envelope import Damaged, Line, parse
from coe_records.folder import DataFolder
from coe_records.log import Entry, Log
from coe_records.projection import Projection, line_row
from coe_records.registry import Registered
from coe_records.row import Row

STRAYS_TOGETHER = 20
"""So many copies for which the log has no place are in memory at once."""

_PREFIX = "lines:"
_AMONG = """
    SELECT offset_bytes, group_name, encode(sha256(line), 'hex') FROM lines
    WHERE segment = ? AND offset_bytes >= ? AND offset_bytes < ?
"""
_OUTSIDE = """
    SELECT offset_bytes, line FROM lines
    WHERE segment = ? AND offset_bytes >= ? AND (offset_bytes < 0 OR offset_bytes >= ?)
    ORDER BY offset_bytes LIMIT ?
"""
_NEXT = "SELECT segment FROM lines WHERE segment > ? ORDER BY segment LIMIT 1"
_AT = "SELECT * FROM lines WHERE segment = ? AND offset_bytes = ?"
_FORGET = "DELETE FROM lines WHERE segment = ? AND offset_bytes = ?"
_LEAST = -(1 << 63)


@define
class Copies:
    """Takes the log in, piece by piece, then tells which copies are of no line of it.

    What the log has lost it is mended from: a copy at a place where the log has damaged bytes, or
    ends too soon, is no fault. Copies of what other machines have are theirs to compare.
    """

    _connection: Connection
    _note: Callable[[Any, str, str], None]

    def compare(self, entries: Sequence[Entry]) -> None:
        """Compare the copies of some entries that follow each other in a segment."""
        segment, start, end = entries[0].pointer.segment, entries[0].pointer.offset, entries[-1].end
        made = {
            each.pointer.offset: (_group(each.line), each.pointer.sha256)
            for each in entries
            if each.line is not None
        }
        rows = self._connection.execute(_AMONG, [segment, start, end])
        found = {offset: (group, checksum) for offset, group, checksum in rows}
        if found == made:
            return
        for offset in sorted(made.keys() - found.keys()):
            self._say("missing", segment, offset, "the database has no copy of the line")
        for offset in sorted(made.keys() & found.keys()):
            if found[offset] != made[offset]:
                self._say("altered", segment, offset, "it is not what the log has there")
        gaps = [range(each.pointer.offset, each.end) for each in entries if each.line is None]
        for offset in sorted(found.keys() - made.keys()):
            if not any(offset in gap for gap in gaps):
                self._say("dangling", segment, offset, "no line of the log begins there")

    def find_strays(
        self, ends: Mapping[str, int], registered: Registered, last: Mapping[str, Line]
    ) -> None:
        """Find the copies that lie beyond the ends of the log's segments, or in none of them;
        `last` is each writer's last line in the log.
        """
        for segment in self._segments():
            if segment not in registered.elsewhere:
                for offset, raw in self._outside(segment, ends.get(segment, 0)):
                    line = _line(raw)
                    if line is not None and line.writer in registered.ours | last.keys():
                        self._judge(segment, offset, line, last.get(line.writer))
                    elif line is None or segment in ends:
                        self._say("dangling", segment, offset, "it is no line of this log")

    def _judge(self, segment: str, offset: int, line: Line, last: Line | None) -> None:
        if last is not None and line.seq <= last.seq:
            self._say("dangling", segment, offset, "the log has the line elsewhere")
        else:
            text = f"only this copy tells of line {line.seq} of {line.writer}"
            self._say("lost", segment, offset, text)

    def _say(self, kind: str, segment: str, offset: int, text: str) -> None:
        self._note(kind, f"{_PREFIX}{segment}/{offset}", text)

    def _segments(self) -> Iterator[str]:
        """Yield the segments of which there are copies, each found in the index."""
        found = self._connection.execute(_NEXT, [""]).fetchone()
        while found:
            yield found[0]
            found = self._connection.execute(_NEXT, found).fetchone()

    def _outside(self, segment: str, end: int) -> Iterator[tuple[int, bytes]]:
        """Yield the copies of a segment that are before its beginning, or from an offset on."""
        rows = [(_LEAST - 1, b"")]
        while rows:
            values = [segment, rows[-1][0] + 1, end, STRAYS_TOGETHER]
            rows = self._connection.execute(_OUTSIDE, values).fetchall()
            yield from rows


def copy_at(where: str) -> tuple[str, int] | None:
    """Tell of which segment and offset a copy is, if the place that the audit names is a copy's."""
    segment, _, offset = where.removeprefix(_PREFIX).rpartition("/")
    return (segment, int(offset)) if where.startswith(_PREFIX) else None


def make_again(
    folder: DataFolder, projection: Projection, places: Sequence[tuple[str, int]]
) -> None:
    """Make copies what the log has at their places, or no copies where it has no line, after what
    was there is kept in a file. The caller holds the log's lock, and has a transaction under way.
    """
    connection, right = projection.connection, list[Row]()
    kept = []
    for at in places:
        kept += connection.execute(_AT, at).fetchall()
        connection.execute(_FORGET, at)
        right += _right(projection.log, *at)
    if kept:
        stamp = f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}"
        text = b"".join(encode([*row[:3], b64encode(row[3]).decode()]) + b"\n" for row in kept)
        replace(Disk(), folder.path / f"lines.{stamp}.damaged", text)
    connection.insert(table.lines, right)


def _right(log: Log, segment: str, offset: int) -> Iterator[Row]:
    """Yield the copy of the line that begins at a place of the log, if one does."""
    if not 0 <= offset < log.size(segment):
        return
    entry = next(log.entries(segment, offset))
    is_begun = offset == 0 or next(log.entries(segment, offset - 1)).raw == b"\n"
    if is_begun and entry.line is not None:
        yield line_row(entry.pointer, body_of(entry.line.kind, entry.line.body), entry.raw)


def _group(line: Line) -> str | None:
    return group_of(body_of(line.kind, line.body))


def _line(raw: bytes) -> Line | None:
    try:
        return parse(raw)
    except Damaged:
        return None
