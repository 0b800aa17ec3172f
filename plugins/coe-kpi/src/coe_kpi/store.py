"""The roll-ups: sums of facts by minute, hour and day, in a file that the log can make again.

Nothing else in this package but `fold.py` and `question.py` knows SQL. The cursor into the log is
written in the transaction of what was read with it, so that every fact counts once however often a
process dies.
"""

from __future__ import annotations

import functools
import os
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeAlias

import msgspec
from attrs import define, field, frozen

from coe_core.sqlite import use_wal
from coe_kpi.fact import RESULTS, Fact, Result
from coe_kpi.fold import Fold
from coe_kpi.question import BEHIND, BUCKETS, Count, Table, fitting, largest, sums
from coe_kpi.span import MINUTE, SPANS, Piece, pieces
from coe_kpi.sums import CallSums, TurnSums
from coe_kpi.view import CALL_VIEWS, OTHER, TURN_VIEWS, Cut, View
from coe_kpi.window import Window

VERSION = 3
"""Of the tables. Those of another version are made again from the log."""

BUSY_S = 30.0

TABLES = """
CREATE TABLE state (made TEXT NOT NULL, cursor TEXT NOT NULL, newest INTEGER NOT NULL);
INSERT INTO state VALUES (hex(randomblob(8)), '', 0);
CREATE TABLE scopes (
    id INTEGER PRIMARY KEY, group_name TEXT NOT NULL, route TEXT NOT NULL, target TEXT NOT NULL,
    model TEXT NOT NULL, purpose TEXT NOT NULL, owner TEXT NOT NULL,
    UNIQUE (group_name, route, target, model, purpose, owner)
);
CREATE TABLE facts (
    id TEXT PRIMARY KEY, minute INTEGER NOT NULL, scope INTEGER NOT NULL, result INTEGER NOT NULL,
    tool_calls INTEGER NOT NULL, tool_failures INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX facts_minute ON facts (minute) WHERE result >= 0;
CREATE TABLE objections (turn_id TEXT NOT NULL, is_bad INTEGER NOT NULL, route TEXT);
CREATE INDEX objections_turn ON objections (turn_id);
CREATE TABLE turns (
    view INTEGER NOT NULL, span INTEGER NOT NULL, bucket INTEGER NOT NULL, scope INTEGER NOT NULL,
    result INTEGER NOT NULL, turns INTEGER NOT NULL, tool_turns INTEGER NOT NULL,
    tool_calls INTEGER NOT NULL, tool_failures INTEGER NOT NULL,
    PRIMARY KEY (view, span, bucket, scope, result)
) WITHOUT ROWID;
CREATE TABLE calls (
    view INTEGER NOT NULL, span INTEGER NOT NULL, bucket INTEGER NOT NULL, scope INTEGER NOT NULL,
    estimated INTEGER NOT NULL, calls INTEGER NOT NULL, failed INTEGER NOT NULL,
    input_tokens INTEGER NOT NULL, cached_tokens INTEGER NOT NULL, output_tokens INTEGER NOT NULL,
    reasoning_tokens INTEGER NOT NULL, unpriced_tokens INTEGER NOT NULL,
    cost_pico INTEGER NOT NULL,
    PRIMARY KEY (view, span, bucket, scope, estimated)
) WITHOUT ROWID;
"""

MOST_FITS = 1_000
"""So many questions' scopes are remembered at a time: junk shall not fill the memory."""

VIEWS: Mapping[Table, tuple[View, ...]] = {"turns": TURN_VIEWS, "calls": CALL_VIEWS}

TurnsBy: TypeAlias = "dict[str, dict[int, TurnSums]]"
"""The label that turns are shown by, to their result, to their sums."""
CallsBy: TypeAlias = "dict[tuple[str, str], CallSums]"
"""Label and owner, to the sums of attempts."""


@frozen(kw_only=True)
class Sought:
    """Turns that are asked for: those of a part, that fit, with one of the results."""

    part: Window
    cut: Cut
    results: tuple[int, ...]
    with_tools: bool = False


@frozen
class Behind:
    """A turn that is behind a number."""

    id: str
    minute: int
    result: Result


@define(eq=False)
class RollupStore:
    """The file. Used by one thread at a time; other processes may have it open as well."""

    _connection: sqlite3.Connection
    _fold: Fold = field(init=False)
    _fits: dict[object, Sequence[int]] = field(factory=dict, init=False)
    """Labels of a view and filters, to the scopes that fit."""
    _fits_newest: int | None = field(default=None, init=False)
    """The newest scope there was when they were looked up."""
    _made: str = field(default="", init=False)
    """Of which making of the tables this is known; another process may begin them again."""

    def __attrs_post_init__(self) -> None:
        self._fold = Fold(self._connection)

    @classmethod
    def open(cls, path: Path) -> RollupStore:
        """Open the file, and make it if it is not there, or of another version."""
        # Made by us, for nobody else may read it; but one that is there is never opened by us: to
        # close a descriptor of it takes away the locks that SQLite has on it in this process.
        with suppress(FileExistsError):
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        connection = sqlite3.connect(
            path, timeout=BUSY_S, isolation_level=None, check_same_thread=False
        )
        try:
            use_wal(connection)
            connection.execute("PRAGMA synchronous = NORMAL")
            store = cls(connection)
            if store._version() != VERSION:
                store.clear()
        except BaseException:
            connection.close()
            raise
        return store

    def close(self) -> None:
        """Close it."""
        self._connection.close()

    @property
    def cursor(self) -> str:
        """How far the log was read."""
        return self._state()[0]

    @property
    def newest(self) -> int:
        """The newest minute of which there is a turn, 0 while there is none."""
        return self._state()[1]

    def clear(self) -> None:
        """Forget everything, so that the log is read from its beginning."""
        with self._transaction():
            names = self._connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            for (name,) in names.fetchall():
                self._connection.execute(f"DROP TABLE {name}")
            for statement in TABLES.split(";"):
                self._connection.execute(statement)
            self._connection.execute(f"PRAGMA user_version = {VERSION}")

    def add(self, facts: Iterable[Fact], *, behind: str, cursor: str) -> bool:
        """Add up what was read between two cursors; False if another process was quicker."""
        with self._transaction():
            found, newest = self._state()
            if found != behind:
                return False
            newest = max(newest, self._fold.add(facts))
            self._connection.execute("UPDATE state SET cursor = ?, newest = ?", [cursor, newest])
        return True

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """See the same meanwhile, whatever is added."""
        self._connection.execute("BEGIN")
        try:
            self._state()
            yield
        finally:
            self._connection.execute("ROLLBACK")

    def largest(self, parts: Sequence[Window], cuts: Mapping[Table, Cut], most: int) -> list[str]:
        """List the values of the labels that the cuts are by, those with the most first."""
        counts: list[Count] = []
        values: dict[str, object] = {"most": most}
        for table, cut in cuts.items():
            for given, scopes in self._given(table, parts, cut):
                values |= {f"{name}{len(counts)}": value for name, value in given.items()}
                counts.append((table, cut.by, scopes))
        found: list[str] = self._answer(largest(counts), values)
        return found

    def turns(self, parts: Sequence[Window], cut: Cut, shown: Sequence[str] = ()) -> list[TurnsBy]:
        """Add up the turns of each part, by the values of the label that are shown."""
        found: list[TurnsBy] = [{} for _ in parts]
        for part, label, _, result, *row in self._sums("turns", parts, cut, shown):
            results, sums = found[part].setdefault(label, {}), TurnSums(*row)
            results[result] = results[result] + sums if result in results else sums
        return found

    def calls(self, parts: Sequence[Window], cut: Cut, shown: Sequence[str] = ()) -> list[CallsBy]:
        """Add up the attempts of each part, likewise."""
        found: list[CallsBy] = [{} for _ in parts]
        for part, label, owner, estimated, *row in self._sums("calls", parts, cut, shown):
            row.append(row[2] + row[4] if estimated else 0)
            key, sums = (label, owner), CallSums(*row)
            found[part][key] = found[part][key] + sums if key in found[part] else sums
        return found

    def behind(self, sought: Sought) -> Iterator[Behind]:
        """Yield turns, the newest first. The sums lead to the minutes in which there are some."""
        view = TURN_VIEWS[-1]
        values = {
            "results": _json(sought.results),
            "with_tools": sought.with_tools,
            "scopes": _json(self._fitting(view, sought.cut)),
            "view": view.number,
        }
        for piece in reversed([*pieces(sought.part.since, sought.part.until)]):
            for minute in self._minutes(piece, values):
                given = {**values, "minute": minute}
                for id_, result in self._connection.execute(BEHIND, given):
                    yield Behind(id_, minute, RESULTS[result])

    def _minutes(self, piece: Piece, values: Mapping[str, object]) -> Iterator[int]:
        """Yield the minutes in which there are some: of the days that have some, the hours."""
        given = {**values, "span": piece.span, "since": piece.since, "until": piece.until}
        for (bucket,) in self._connection.execute(BUCKETS, given):
            if piece.span == MINUTE:
                yield bucket
            else:
                finer = SPANS[SPANS.index(piece.span) - 1]
                yield from self._minutes(Piece(finer, bucket, bucket + piece.span), values)

    def _sums(
        self, table: Table, parts: Sequence[Window], cut: Cut, shown: Sequence[str]
    ) -> Iterator[list[Any]]:
        for given, scopes in self._given(table, parts, cut):
            values = {**given, "shown": _json(shown)}
            for part, label, *row in self._answer(sums(table, cut.by, scopes), values):
                yield [part, OTHER if label is None else label, *row]

    def _given(
        self, table: Table, parts: Sequence[Window], cut: Cut
    ) -> Iterator[tuple[dict[str, object], Sequence[int] | None]]:
        """Yield what a question is given for each span, and the scopes that it is about."""
        for span, buckets in _buckets(tuple(parts)).items():
            view = cut.view(VIEWS[table], span)
            scopes = self._fitting(view, cut) if cut.where else None
            given = {"view": view.number, "span": span, "buckets": buckets}
            yield given | ({"scopes": _json(scopes)} if scopes is not None else {}), scopes

    def _answer(self, question: str, values: Mapping[str, object]) -> Any:
        (found,) = self._connection.execute(question, values).fetchone()
        return msgspec.json.decode(found)

    def _fitting(self, view: View, cut: Cut) -> Sequence[int]:
        """List the numbers of the scopes that fit, as this view has them."""
        (newest,) = self._connection.execute("SELECT max(id) FROM scopes").fetchone()
        if newest != self._fits_newest or len(self._fits) >= MOST_FITS:
            self._fits.clear()
            self._fits_newest = newest
        key = (view.labels, *sorted(cut.where.items()))
        if (found := self._fits.get(key)) is None:
            found = [number for (number,) in self._connection.execute(*fitting(view, cut))]
            self._fits[key] = found
        return found

    def _state(self) -> tuple[str, int]:
        query = "SELECT made, cursor, newest FROM state"
        made, cursor, newest = self._connection.execute(query).fetchone()
        if made != self._made:
            self._fold.forget()
            self._fits.clear()
            self._made = made
        return cursor, newest

    def _version(self) -> int:
        (version,) = self._connection.execute("PRAGMA user_version").fetchone()
        return int(version)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._connection.execute("ROLLBACK")
            self._fold.forget()  # Scopes that were new are not there after all.
            raise
        self._connection.execute("COMMIT")


@functools.lru_cache(maxsize=8)  # Of one question turns and attempts are read.
def _buckets(parts: tuple[Window, ...]) -> Mapping[int, str]:
    """List the buckets of each span that the parts are made of, each with its part's number."""
    found: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for number, part in enumerate(parts):
        for piece in pieces(part.since, part.until):
            found[piece.span] += [(b, number) for b in range(piece.since, piece.until, piece.span)]
    return {span: _json(buckets) for span, buckets in found.items()}


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
