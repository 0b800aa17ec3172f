"""Fills the tables from lines of the log."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import islice
from typing import Any

import msgspec
from attrs import astuple, evolve, frozen

from coe_core.error import RecordDamaged
from coe_core.record import Pointer
from coe_records import table
from coe_records.body import Body, body_of, group_of, once_of
from coe_records.database import Connection
from coe_records.envelope import Line
from coe_records.log import Entry, Log
from coe_records.registry import ELSEWHERE
from coe_records.row import Row, Rows

CHUNK_LINES = 500


def json_list(values: Iterable[str]) -> str:
    """Write values for `json_each(?)`: one statement then serves any number of them."""
    return msgspec.json.encode(list(values)).decode()


_KNOWN = """
    SELECT id, segment, offset_bytes, length_bytes, sha256
    FROM interactions WHERE id IN (SELECT value FROM json_each(?))
    UNION ALL
    SELECT id, segment, offset_bytes, length_bytes, sha256
    FROM feedback WHERE id IN (SELECT value FROM json_each(?))
    UNION ALL
    SELECT id, segment, offset_bytes, length_bytes, sha256
    FROM conversation_summaries WHERE id IN (SELECT value FROM json_each(?))
"""
_OPEN = """
    SELECT value FROM json_each(?)
    WHERE value NOT IN (SELECT id FROM attempts WHERE owner_id IN (SELECT value FROM json_each(?)))
"""
_FORGET = (
    "DELETE FROM interactions WHERE id = ? AND segment = ? AND offset_bytes = ?",
    "DELETE FROM chat_messages WHERE turn_id = ? AND segment = ? AND offset_bytes = ?",
    "DELETE FROM attempts WHERE owner_id = ? AND segment = ? AND offset_bytes = ?",
    "DELETE FROM feedback WHERE id = ? AND segment = ? AND offset_bytes = ?",
    "DELETE FROM conversation_summaries WHERE id = ? AND segment = ? AND offset_bytes = ?",
)


@frozen
class Mark:
    """How far a segment is projected: a row of the table `segments`."""

    path: str
    writer: str
    first_seq: int
    last_seq: int
    end_bytes: int
    head: str


@frozen
class Replay:
    """What came of reading the end of a segment."""

    mark: Mark | None
    """None when the segment has no whole line."""
    lines: int = 0
    damaged: tuple[Entry, ...] = ()
    torn: Entry | None = None
    """The first entry that a crash left behind unacknowledged; so is all that follows it."""


@frozen
class Projection:
    """Works within transactions on one connection."""

    connection: Connection
    log: Log
    keeps_lines: bool = False
    """Whether lines are put into the database too."""

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Begin a writing transaction, and commit it, or roll it back."""
        try:
            self.begin()
            yield
            self.commit()
        finally:
            self.roll_back()

    def begin(self) -> None:
        """Begin a transaction."""
        self.roll_back()
        self.connection.begin()

    def begin_at_once(self) -> bool:
        """Begin a transaction, unless that takes waiting for somebody else's."""
        self.roll_back()
        return self.connection.begin_at_once()

    def commit(self) -> None:
        """Commit."""
        self.connection.execute("COMMIT")

    def roll_back(self) -> None:
        """Roll back, unless the database has already done so. Where even that fails, the
        transaction is left to the next `begin`, which then fails in its turn.
        """
        if self.connection.in_transaction:
            with suppress(self.connection.Error):
                self.connection.execute("ROLLBACK")

    def known(self, ids: Sequence[str]) -> dict[str, Pointer]:
        """Return the pointers of what is recorded already of turns, feedback and summaries."""
        found = self.connection.execute(_KNOWN, [json_list(ids)] * 3)
        return {
            id_: Pointer(segment=segment, offset=offset, length=length, sha256=sha256)
            for id_, segment, offset, length, sha256 in found
        }

    def open_attempts(self, attempt_ids: Sequence[str], owner_ids: Sequence[str]) -> set[str]:
        """Return those attempts whose end is not recorded."""
        found = self.connection.execute(_OPEN, [json_list(attempt_ids), json_list(owner_ids)])
        return {attempt_id for (attempt_id,) in found}

    def marks(self) -> dict[str, Mark]:
        """Return how far each segment is projected."""
        return {row[0]: Mark(*row) for row in self.connection.execute("SELECT * FROM segments")}

    def mark(self, path: str) -> Mark | None:
        """Return how far a segment is projected."""
        row = self.connection.execute("SELECT * FROM segments WHERE path = ?", [path]).fetchone()
        return Mark(*row) if row else None

    def chain(self, writer: str) -> list[Mark]:
        """Return the marks of a writer's segments, in the order of its chain."""
        query = "SELECT * FROM segments WHERE writer = ? ORDER BY first_seq"
        return [Mark(*row) for row in self.connection.execute(query, [writer])]

    def insert(self, rows: Rows, mark: Mark, lines: Iterable[Row] = ()) -> None:
        """Insert rows that are known to be new, and move the mark."""
        insert = self.connection.insert
        insert(table.interactions, rows.interactions)
        insert(table.chat_messages, rows.chat_messages)
        # An interaction knows better than a settlement what became of an attempt, whichever came
        # first.
        insert(table.attempts, rows.attempts, clash="replace")
        if rows.settled:
            insert(table.attempts, rows.settled, clash="ignore")
        if rows.feedback:
            insert(table.feedback, rows.feedback)
        if rows.conversation_summaries:
            insert(table.conversation_summaries, rows.conversation_summaries)
        if self.keeps_lines:
            insert(table.lines, lines)
        insert(table.segments, [astuple(mark)], clash="replace")

    def line(self, pointer: Pointer) -> Line:
        """Read the line at a pointer, wherever it is. Raises `RecordDamaged` if it is nowhere."""
        if self.keeps_lines:
            query = "SELECT line FROM lines WHERE segment = ? AND offset_bytes = ?"
            found = self.connection.execute(query, [pointer.segment, pointer.offset]).fetchone()
            return self.log.line(pointer, found[0] if found else None)
        return self.log.read(pointer)

    def forget(self, owner: str, segment: str, offset: int) -> None:
        """Delete the rows of a turn or a job that point to a place."""
        for statement in _FORGET:
            self.connection.execute(statement, [owner, segment, offset])

    def clear(self, elsewhere: Collection[str]) -> None:
        """Empty every table of all but what it has from some segments."""
        for each in table.PROJECTIONS:
            segment = "path" if each is table.segments else "segment"
            where = f" WHERE {segment} NOT IN ({ELSEWHERE})" if elsewhere else ""
            delete = f"DELETE FROM {each.name}{where}"  # noqa: S608
            self.connection.execute(delete, [json_list(elsewhere)] if elsewhere else [])

    def replay(
        self,
        segment: str,
        *,
        end: int | None = None,
        stop_seq: int | None = None,
        is_sealed: bool = False,
    ) -> Replay:
        """Project what a segment has beyond its mark, up to an offset or a sequence number: that
        with which the writer went on elsewhere. Nothing in a sealed one is taken for torn.

        Whatever the order in which segments are replayed, the tables come out the same.
        """
        mark = self.mark(segment)
        entries = self.log.entries(segment, mark.end_bytes if mark else 0, end)
        result = Replay(mark)
        while chunk := list(islice(entries, CHUNK_LINES)):
            torn_at = None if is_sealed else self._torn_at(chunk, stop_seq)
            result = self._replay_chunk(result, chunk[:torn_at])
            if torn_at is not None:
                return evolve(result, torn=chunk[torn_at])
        return result

    def _torn_at(self, chunk: list[Entry], stop_seq: int | None) -> int | None:
        for number, entry in enumerate(chunk):
            if self._is_torn(entry, stop_seq) or (
                entry.line and stop_seq and entry.line.seq >= stop_seq
            ):
                return number
        return None

    def _replay_chunk(self, so_far: Replay, chunk: list[Entry]) -> Replay:
        good = [(entry, entry.line) for entry in chunk if entry.line is not None]
        damaged = [entry for entry in chunk if entry.line is None]
        mark = so_far.mark
        for entry, line in good:
            mark = moved(mark, entry, line)
        if good and mark is not None:
            found = [(e, line, body_of(line.kind, line.body)) for e, line in good]
            self.insert(self._rows(found), mark)
            if self.keeps_lines:  # It may have them, since no table of them is ever emptied.
                lines = [line_row(e.pointer, body, e.raw) for e, _, body in found]
                self.connection.insert(table.lines, lines, clash="ignore")
        return evolve(
            so_far,
            mark=mark,
            lines=so_far.lines + len(good),
            damaged=(*so_far.damaged, *damaged),
        )

    def _is_torn(self, entry: Entry, stop_seq: int | None) -> bool:
        """Whether a crash left this: writes that the disk never saw, which read as a missing end
        or as zeros. They were one group at most, so that no two groups can follow, nor a line
        after which the writer went on elsewhere.
        """
        if entry.line or (entry.raw.endswith(b"\n") and b"\0" not in entry.raw):
            return False
        at = entry.pointer
        groups: set[str] = set()
        for later in self.log.entries(at.segment, at.offset + at.length):
            if later.line is not None:
                groups.add(later.line.at)
                if len(groups) > 1 or later.line.seq < (stop_seq or 0):
                    return False
        return True

    def _rows(self, found: Sequence[tuple[Entry, Line, Body]]) -> Rows:
        ids = [once for _, _, body in found if (once := once_of(body))]
        known = self.known(ids)
        winners: dict[Any, tuple[Pointer, Line, Body]] = {}
        for entry, line, body in found:
            pointer = entry.pointer
            key: Any = once_of(body) or pointer
            rival = winners.get(key)
            if rival and rival[1].rank <= line.rank:
                continue
            if key in known and not self._displaces(line, pointer, key, known[key]):
                continue
            winners[key] = (pointer, line, body)
        rows = Rows()
        for pointer, _, body in winners.values():
            rows.add(body, pointer)
        return rows

    def _displaces(self, line: Line, at: Pointer, id_: str, recorded: Pointer) -> bool:
        """Whether the line counts in place of another with its id, which is then forgotten."""
        try:
            if recorded == at or self.line(recorded).rank <= line.rank:
                return False
        except RecordDamaged:
            pass  # A whole line is better than a damaged one.
        self.forget(id_, recorded.segment, recorded.offset)
        return True


def line_row(pointer: Pointer, body: Body, raw: bytes) -> Row:
    """Make the row of a line itself."""
    return (pointer.segment, pointer.offset, group_of(body), raw)


def moved(mark: Mark | None, entry: Entry, line: Line) -> Mark:
    """Move a segment's mark behind its next line."""
    return Mark(
        path=entry.pointer.segment,
        writer=line.writer,
        first_seq=mark.first_seq if mark else line.seq,
        last_seq=line.seq,
        end_bytes=entry.pointer.offset + entry.pointer.length,
        head=line.head,
    )
