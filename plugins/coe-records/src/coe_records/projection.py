"""Fills the tables from lines of the log."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import islice
from typing import Any

import msgspec
from attrs import astuple, evolve, field, frozen
from sqlalchemy import Table, insert
from sqlalchemy.dialects import sqlite

from coe_core.codec import decode
from coe_core.error import RecordDamaged
from coe_core.record import Pointer
from coe_records import table
from coe_records.envelope import Line
from coe_records.log import Entry, Log
from coe_records.row import Rows, once_of

CHUNK_LINES = 500


def json_list(values: Iterable[str]) -> str:
    """Write values for SQLite's `json_each`: one statement then serves any number of them."""
    return msgspec.json.encode(list(values)).decode()


def _insert(into: Table, *prefix: str) -> str:
    statement = insert(into)
    for word in prefix:
        statement = statement.prefix_with(word)
    return str(statement.compile(dialect=sqlite.dialect()))


_INTERACTION = _insert(table.interactions)
_MESSAGE = _insert(table.chat_messages)
_FEEDBACK = _insert(table.feedback)
_SUMMARY = _insert(table.conversation_summaries)
# An interaction knows better than a settlement what became of an attempt, whichever came first.
_ATTEMPT = _insert(table.attempts, "OR REPLACE")
_SETTLED = _insert(table.attempts, "OR IGNORE")
_MARK = _insert(table.segments, "OR REPLACE")
_KNOWN = """
    SELECT id, segment, offset_bytes, length_bytes, sha256
    FROM interactions WHERE id IN (SELECT value FROM json_each(:ids))
    UNION ALL
    SELECT id, segment, offset_bytes, length_bytes, sha256
    FROM feedback WHERE id IN (SELECT value FROM json_each(:ids))
    UNION ALL
    SELECT id, segment, offset_bytes, length_bytes, sha256
    FROM conversation_summaries WHERE id IN (SELECT value FROM json_each(:ids))
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

    connection: sqlite3.Connection
    log: Log
    _execute: Any = field(init=False, repr=False)

    @_execute.default
    def _(self) -> Any:
        return self.connection.execute

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
        """Begin a transaction that is the only one to write."""
        self.roll_back()
        self._execute("BEGIN IMMEDIATE")

    def commit(self) -> None:
        """Commit."""
        self._execute("COMMIT")

    def roll_back(self) -> None:
        """Roll back, unless SQLite has already done so. Where even that fails, the transaction
        is left to the next `begin`, which then fails in its turn.
        """
        if self.connection.in_transaction:
            with suppress(sqlite3.Error):
                self._execute("ROLLBACK")

    def known(self, ids: Sequence[str]) -> dict[str, Pointer]:
        """Return the pointers of what is recorded already of turns, feedback and summaries."""
        found = self._execute(_KNOWN, {"ids": json_list(ids)})
        return {
            id_: Pointer(segment=segment, offset=offset, length=length, sha256=sha256)
            for id_, segment, offset, length, sha256 in found
        }

    def open_attempts(self, attempt_ids: Sequence[str], owner_ids: Sequence[str]) -> set[str]:
        """Return those attempts whose end is not recorded."""
        found = self._execute(_OPEN, [json_list(attempt_ids), json_list(owner_ids)])
        return {attempt_id for (attempt_id,) in found}

    def marks(self) -> dict[str, Mark]:
        """Return how far each segment is projected."""
        return {row[0]: Mark(*row) for row in self._execute("SELECT * FROM segments")}

    def mark(self, path: str) -> Mark | None:
        """Return how far a segment is projected."""
        row = self._execute("SELECT * FROM segments WHERE path = ?", [path]).fetchone()
        return Mark(*row) if row else None

    def chain(self, writer: str) -> list[Mark]:
        """Return the marks of a writer's segments, in the order of its chain."""
        rows = self._execute("SELECT * FROM segments WHERE writer = ? ORDER BY first_seq", [writer])
        return [Mark(*row) for row in rows]

    def insert(self, rows: Rows, mark: Mark) -> None:
        """Insert rows that are known to be new, and move the mark."""
        many = self.connection.executemany
        many(_INTERACTION, rows.interactions)
        many(_MESSAGE, rows.chat_messages)
        many(_ATTEMPT, rows.attempts)
        if rows.settled:
            many(_SETTLED, rows.settled)
        if rows.feedback:
            many(_FEEDBACK, rows.feedback)
        if rows.conversation_summaries:
            many(_SUMMARY, rows.conversation_summaries)
        self._execute(_MARK, astuple(mark))

    def forget(self, owner: str, segment: str, offset: int) -> None:
        """Delete the rows of a turn or a job that point to a place."""
        for statement in _FORGET:
            self._execute(statement, [owner, segment, offset])

    def clear(self) -> None:
        """Empty every table."""
        for each in table.metadata.sorted_tables:
            self._execute(str(each.delete()))

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
            self.insert(self._rows(good), mark)
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

    def _rows(self, entries: Iterable[tuple[Entry, Line]]) -> Rows:
        found = [(entry.pointer, line, decode(line.body)) for entry, line in entries]
        ids = [once for _, line, body in found if (once := once_of(line.kind, body))]
        known = self.known(ids)
        winners: dict[Any, tuple[Pointer, Line, Any]] = {}
        for pointer, line, body in found:
            key: Any = once_of(line.kind, body) or pointer
            rival = winners.get(key)
            if rival and rival[1].rank <= line.rank:
                continue
            if key in known and not self._displaces(line, pointer, key, known[key]):
                continue
            winners[key] = (pointer, line, body)
        rows = Rows()
        for pointer, line, body in winners.values():
            rows.add(line.kind, body, pointer)
        return rows

    def _displaces(self, line: Line, at: Pointer, id_: str, recorded: Pointer) -> bool:
        """Whether the line counts in place of another with its id, which is then forgotten."""
        try:
            if recorded == at or self.log.read(recorded).rank <= line.rank:
                return False
        except RecordDamaged:
            pass  # A whole line is better than a damaged one.
        self.forget(id_, recorded.segment, recorded.offset)
        return True


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
