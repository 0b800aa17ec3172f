"""The roll-ups: sums of facts by minute, hour and day, in a file that the log can make again.

Nothing else in this package knows SQL. The cursor into the log is written in the transaction of
what was read with it, so that every fact counts once however often a process dies.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec
from attrs import astuple, define, field

from coe_kpi.fact import RESULTS, Call, CallsFact, Fact, Objection, Scope, TurnFact
from coe_kpi.span import pieces
from coe_kpi.sums import Increments, Sums

VERSION = 1
"""Of the tables. Those of another version are made again from the log."""

BUSY_S = 30.0

TABLES = """
CREATE TABLE state (cursor TEXT NOT NULL, newest INTEGER NOT NULL);
INSERT INTO state VALUES ('', 0);
CREATE TABLE scopes (
    id INTEGER PRIMARY KEY, group_name TEXT NOT NULL, route TEXT NOT NULL, target TEXT NOT NULL,
    model TEXT NOT NULL, purpose TEXT NOT NULL, owner TEXT NOT NULL,
    UNIQUE (group_name, route, target, model, purpose, owner)
);
CREATE TABLE facts (
    id TEXT PRIMARY KEY, minute INTEGER NOT NULL, scope INTEGER NOT NULL, result INTEGER NOT NULL,
    tool_calls INTEGER NOT NULL, tool_failures INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE objections (turn_id TEXT NOT NULL, is_bad INTEGER NOT NULL, route TEXT);
CREATE INDEX objections_turn ON objections (turn_id);
CREATE TABLE turns (
    span INTEGER NOT NULL, bucket INTEGER NOT NULL, scope INTEGER NOT NULL,
    result INTEGER NOT NULL, turns INTEGER NOT NULL, tool_turns INTEGER NOT NULL,
    tool_calls INTEGER NOT NULL, tool_failures INTEGER NOT NULL,
    PRIMARY KEY (span, bucket, scope, result)
) WITHOUT ROWID;
CREATE TABLE calls (
    span INTEGER NOT NULL, bucket INTEGER NOT NULL, scope INTEGER NOT NULL,
    estimated INTEGER NOT NULL, calls INTEGER NOT NULL, failed INTEGER NOT NULL,
    input_tokens INTEGER NOT NULL, cached_tokens INTEGER NOT NULL, output_tokens INTEGER NOT NULL,
    reasoning_tokens INTEGER NOT NULL, unpriced_tokens INTEGER NOT NULL,
    cost_pico INTEGER NOT NULL,
    PRIMARY KEY (span, bucket, scope, estimated)
) WITHOUT ROWID;
"""

_ADD_TURNS = """
INSERT INTO turns VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET
    turns = turns + excluded.turns, tool_turns = tool_turns + excluded.tool_turns,
    tool_calls = tool_calls + excluded.tool_calls,
    tool_failures = tool_failures + excluded.tool_failures
"""
_ADD_CALLS = """
INSERT INTO calls VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET
    calls = calls + excluded.calls, failed = failed + excluded.failed,
    input_tokens = input_tokens + excluded.input_tokens,
    cached_tokens = cached_tokens + excluded.cached_tokens,
    output_tokens = output_tokens + excluded.output_tokens,
    reasoning_tokens = reasoning_tokens + excluded.reasoning_tokens,
    unpriced_tokens = unpriced_tokens + excluded.unpriced_tokens,
    cost_pico = cost_pico + excluded.cost_pico
"""

_TURNS = """
SELECT scope, result, sum(turns), sum(tool_turns), sum(tool_calls), sum(tool_failures)
FROM turns WHERE span = ? AND bucket >= ? AND bucket < ? GROUP BY 1, 2
"""
_CALLS = """
SELECT scope, estimated, sum(calls), sum(failed), sum(input_tokens), sum(cached_tokens),
    sum(output_tokens), sum(reasoning_tokens), sum(unpriced_tokens), sum(cost_pico)
FROM calls WHERE span = ? AND bucket >= ? AND bucket < ? GROUP BY 1, 2
"""

SUCCESS, WRONG_ROUTE = RESULTS.index("success"), RESULTS.index("wrong_route")


@define(eq=False)
class RollupStore:
    """The file. Used by one thread at a time; other processes may have it open as well."""

    _connection: sqlite3.Connection
    _scopes: dict[Scope, int] = field(factory=dict, init=False)
    _names: dict[int, Scope] = field(factory=dict, init=False)

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
            connection.execute("PRAGMA journal_mode = WAL")
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
        self._scopes.clear()
        self._names.clear()

    def add(self, facts: Iterable[Fact], *, behind: str, cursor: str) -> bool:
        """Add up what was read between two cursors; False if another process was quicker."""
        with self._transaction():
            found, newest = self._state()
            if found != behind:
                return False
            sums = Increments()
            for fact in self._unknown([*facts]):
                newest = max(newest, self._count(sums, fact))
            self._connection.executemany(_ADD_TURNS, sums.turn_rows())
            self._connection.executemany(_ADD_CALLS, sums.call_rows())
            self._connection.execute("UPDATE state SET cursor = ?, newest = ?", [cursor, newest])
        return True

    def read(self, since: int, until: int) -> Sums:
        """Add up a stretch of minutes, by scope."""
        sums = Sums()
        for piece in pieces(since, until):
            values = astuple(piece)
            for scope, result, *row in self._connection.execute(_TURNS, values):
                sums.turns[self._named(scope), result].add(*row)
            for scope, estimated, *row in self._connection.execute(_CALLS, values):
                tokens = row[2] + row[4] if estimated else 0
                sums.calls[self._named(scope)].add(*[*row, tokens])
        return sums

    def _named(self, id_: int) -> Scope:
        if id_ not in self._names:
            # Without a join: there are far more rows than scopes.
            rows = self._connection.execute("SELECT * FROM scopes WHERE id > ?", [len(self._names)])
            self._names |= {number: Scope(*names) for number, *names in rows}
        return self._names[id_]

    def _count(self, sums: Increments, fact: Fact) -> int:
        match fact:
            case TurnFact():
                self._count_turn(sums, fact)
                self._count_calls(sums, fact.minute, fact.calls)
                return fact.minute
            case CallsFact():
                self._know(fact.id, fact.minute)
                self._count_calls(sums, fact.minute, fact.calls)
                return 0
            case Objection():
                self._object(sums, fact)
                return 0

    def _count_turn(self, sums: Increments, fact: TurnFact) -> None:
        scope, result = self._scope(fact.scope), RESULTS.index(fact.result)
        if result == SUCCESS and self._was_objected(fact):
            result = WRONG_ROUTE
        self._know(fact.id, fact.minute, scope, result, fact.tool_calls, fact.tool_failures)
        figures = (1, fact.tool_calls > 0, fact.tool_calls, fact.tool_failures)
        sums.add_turn(fact.minute, scope, result, figures)

    def _count_calls(self, sums: Increments, minute: int, calls: Sequence[Call]) -> None:
        for call in calls:
            sums.add_call(minute, self._scope(call.scope), call)

    def _know(self, id_: str, minute: int, *rest: int) -> None:
        values = (id_, minute, *(rest or (0, -1, 0, 0)))
        self._connection.execute("INSERT INTO facts VALUES (?, ?, ?, ?, ?, ?)", values)

    def _object(self, sums: Increments, fact: Objection) -> None:
        """Move a success to where it belongs, now or once its turn is known."""
        row = self._connection.execute(
            "SELECT minute, scope, result, tool_calls, tool_failures, target, route FROM facts "
            "JOIN scopes ON scopes.id = scope WHERE facts.id = ?",
            [fact.turn_id],
        ).fetchone()
        if row is None:
            values = (fact.turn_id, fact.is_bad, fact.route)
            self._connection.execute("INSERT INTO objections VALUES (?, ?, ?)", values)
            return
        minute, scope, result, calls, failures, target, route = row
        if result == SUCCESS and fact.holds(target, route):
            change = "UPDATE facts SET result = ? WHERE id = ?"
            self._connection.execute(change, [WRONG_ROUTE, fact.turn_id])
            sums.add_turn(minute, scope, SUCCESS, (-1, -(calls > 0), -calls, -failures))
            sums.add_turn(minute, scope, WRONG_ROUTE, (1, calls > 0, calls, failures))

    def _was_objected(self, fact: TurnFact) -> bool:
        rows = self._connection.execute(
            "SELECT is_bad, route FROM objections WHERE turn_id = ?", [fact.id]
        )
        said = [Objection(turn_id=fact.id, is_bad=bool(bad), route=route) for bad, route in rows]
        return any(each.holds(fact.scope.target, fact.scope.route) for each in said)

    def _unknown(self, facts: Sequence[Fact]) -> Iterator[Fact]:
        """Leave out what was counted before: a repair brings a record again."""
        ids = [fact.id for fact in facts if not isinstance(fact, Objection)]
        ids += [fact.turn_id for fact in facts if isinstance(fact, CallsFact) and fact.turn_id]
        known = {
            id_
            for (id_,) in self._connection.execute(
                "SELECT id FROM facts WHERE id IN (SELECT value FROM json_each(?))",
                [msgspec.json.encode(ids).decode()],
            )
        }
        for fact in facts:
            match fact:
                case Objection():
                    yield fact
                    continue
                case CallsFact(turn_id=turn_id) if turn_id in known:
                    continue
            if fact.id not in known:
                known.add(fact.id)
                yield fact

    def _scope(self, scope: Scope) -> int:
        if scope not in self._scopes:
            values = astuple(scope)
            insert = (
                "INSERT INTO scopes (group_name, route, target, model, purpose, owner) "
                "VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
            )
            self._connection.execute(insert, values)
            (self._scopes[scope],) = self._connection.execute(
                "SELECT id FROM scopes WHERE group_name = ? AND route = ? AND target = ? "
                "AND model = ? AND purpose = ? AND owner = ?",
                values,
            ).fetchone()
        return self._scopes[scope]

    def _state(self) -> tuple[str, int]:
        cursor, newest = self._connection.execute("SELECT cursor, newest FROM state").fetchone()
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
            self._scopes.clear()  # Those that were new are not there after all.
            raise
        self._connection.execute("COMMIT")
