"""Compares the rows in the database with those that the log comes to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from operator import itemgetter
from typing import Any

from attrs import define, field

from coe_core.error import RecordDamaged
from coe_core.record import Pointer
from coe_records.body import Body, body_of
from coe_records.database import Connection, Cursor
from coe_records.envelope import Line
from coe_records.log import Log
from coe_records.projection import Projection, json_list
from coe_records.registry import ELSEWHERE
from coe_records.row import Row, Rows

KEYS: Mapping[str, tuple[str, ...]] = {
    "interactions": ("id",),
    "chat_messages": ("turn_id", "position"),
    "attempts": ("owner_id", "id"),
    "feedback": ("id",),
    "conversation_summaries": ("id",),
}
"""Table to the columns of its key: the first ones, that which names the turn before all."""


COUNTED_ONCE = ("interactions", "feedback", "conversation_summaries")
"""The tables with a row for each record that counts once, however often the log has it."""


@define
class Piece:
    """Some lines of the log, and the rows that they come to."""

    lines: list[tuple[Pointer, Line]] = field(factory=list, init=False)
    rows: Rows = field(factory=Rows, init=False)

    def add(self, pointer: Pointer, line: Line) -> Body:
        """Take a line; returns its body, which is kept nowhere."""
        body = body_of(line.kind, line.body)
        self.lines.append((pointer, line))
        self.rows.add(body, pointer)
        return body


@define
class Comparison:
    """Takes the log in, piece by piece; then tells which rows no piece accounted for.

    The connection is tolerant. Rows of segments that are on other machines are theirs to compare.
    """

    _projection: Projection
    _elsewhere: AbstractSet[str]
    """Those segments."""
    _note: Callable[[Any, str, str], None]
    _accounted: Counter[str] = field(factory=Counter, init=False)
    """How many rows of each table are as they should be."""
    _told: set[tuple[str, Row]] = field(factory=set, init=False)
    """The rows, by table and key, of which enough was said."""

    def compare(self, piece: Piece) -> None:
        """Compare the rows of some lines: all at once, and one by one only if they differ."""
        if not self._all_agree(piece.rows):
            self._compare_each(piece.lines, piece.rows)

    def _all_agree(self, rows: Rows) -> bool:
        if rows.settled:
            return False  # They may have given way.
        try:
            with self._connection.strict_texts():
                agree = all(self._agree(table, made) for table, made in _by_table(rows).items())
        except self._connection.OperationalError:
            agree = False
        if agree:
            made = _by_table(rows).items()
            self._accounted.update({table: len(rows_) for table, rows_ in made})
        return agree

    def _agree(self, table: str, made: list[Row]) -> bool:
        """Whether a table has these rows of these turns; any more are seen by their number."""
        if not made:
            return True
        made.sort(key=itemgetter(*range(len(KEYS[table]))))
        return self._rows(table, {row[0] for row in made}) == made

    def _compare_each(self, lines: Sequence[tuple[Pointer, Line]], rows: Rows) -> None:
        ids = {row[0] for made in (*_by_table(rows).values(), rows.settled) for row in made}
        found = {table: self._found(table, ids) for table in KEYS}
        repeats = {
            place
            for table in COUNTED_ONCE
            for place in self._repeats(lines, getattr(rows, table), found[table])
        }
        for table, expected in _by_table(rows).items():
            for row in expected:
                if row[-4:] not in repeats:
                    self._compare_row(table, row, found[table])
        for row in rows.settled:
            self._compare_settled(row, found["attempts"])

    def find_strays(self) -> None:
        """Find the rows that no line accounted for, if there are any."""
        for table, key in KEYS.items():
            (count,) = self._select_ours("count(*)", table).fetchone()
            if count != self._accounted[table]:
                for row in self._select_ours("*", table):
                    if (table, row[: len(key)]) not in self._told:
                        self._judge(table, row)

    @property
    def _log(self) -> Log:
        return self._projection.log

    @property
    def _connection(self) -> Connection:
        return self._projection.connection

    def _select_ours(self, what: str, table: str) -> Cursor:
        query = f"SELECT {what} FROM {table}"  # noqa: S608
        if not self._elsewhere:
            return self._connection.execute(query)
        theirs = f" WHERE segment NOT IN ({ELSEWHERE})"
        return self._connection.execute(query + theirs, [json_list(self._elsewhere)])

    def _rows(self, table: str, ids: set[str]) -> list[Row]:
        """Return the rows of some turns, by key."""
        key = ", ".join(KEYS[table])
        query = (
            f"SELECT * FROM {table} WHERE {KEYS[table][0]} IN (SELECT value FROM json_each(?)) "  # noqa: S608
            f"ORDER BY {key}"
        )
        return self._connection.execute(query, [json_list(ids)]).fetchall()

    def _found(self, table: str, ids: set[str]) -> dict[Row, Row]:
        return {row[: len(KEYS[table])]: row for row in self._rows(table, ids)}

    def _repeats(
        self, lines: Sequence[tuple[Pointer, Line]], rows: Sequence[Row], found: Mapping[Row, Row]
    ) -> Iterator[Row]:
        """Yield the places of lines whose record counts elsewhere, rightly."""
        by_place = {_place(pointer): line for pointer, line in lines}
        for row in rows:
            other = found.get(row[:1])
            if other is not None and other[-4:] != row[-4:]:
                rival = self._line(other)
                if rival is not None and rival.rank <= by_place[row[-4:]].rank:
                    yield row[-4:]

    def _compare_row(self, table: str, row: Row, found: Mapping[Row, Row]) -> None:
        key = row[: len(KEYS[table])]
        other = found.get(key)
        if other == row:
            self._accounted[table] += 1
            return
        where = f"{table}:{'/'.join(map(str, key))}"
        if other is None:
            self._note("missing", where, f"it is in the log at {_shown(row)} only")
        else:
            self._told.add((table, key))
            self._note("altered", where, f"it is not what the log says at {_shown(row)}")

    def _compare_settled(self, row: Row, found: Mapping[Row, Row]) -> None:
        """Let a settlement give way to an interaction that tells what became of the attempt."""
        other = found.get(row[:2])
        if other is None or other[-4:] == row[-4:] or self._line(other) is None:
            self._compare_row("attempts", row, found)

    def _judge(self, table: str, row: Row) -> None:
        where = f"{table}:{'/'.join(map(str, row[: len(KEYS[table])]))}"
        line = self._line(row)
        if line is None:
            self._note("dangling", where, f"there is no such record at {_shown(row)}")
            return
        rows = Rows()
        rows.add(body_of(line.kind, line.body), _pointer(row))
        if row not in (*_by_table(rows)[table], *rows.settled):
            self._note("extra", where, f"the record at {_shown(row)} does not say so")

    def _line(self, row: Row) -> Line | None:
        """Read the line of a row; one that should be in this log must be in this log."""
        try:
            pointer = _pointer(row)
            is_theirs = pointer.segment in self._elsewhere
            return self._projection.line(pointer) if is_theirs else self._log.read(pointer)
        except (RecordDamaged, TypeError, ValueError, OverflowError):
            return None  # Whatever a row may hold when its bytes were changed.


def _by_table(rows: Rows) -> dict[str, list[Row]]:
    return {table: getattr(rows, table) for table in KEYS}


def _place(pointer: Pointer) -> Row:
    return (pointer.segment, pointer.offset, pointer.length, pointer.sha256)


def _pointer(row: Row) -> Pointer:
    segment, offset, length, sha256 = row[-4:]
    return Pointer(segment=segment, offset=offset, length=length, sha256=sha256)


def _shown(row: Row) -> str:
    return f"{row[-4]}:{row[-3]}"
