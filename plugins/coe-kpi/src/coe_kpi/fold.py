"""A fold: adds facts to the roll-ups, each once, within a transaction of the store's."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence

import msgspec
from attrs import astuple, define, field

from coe_kpi.fact import RESULTS, Call, CallsFact, Fact, Objection, Scope, TurnFact
from coe_kpi.sums import Increments, Seen
from coe_kpi.view import CALL_VIEWS, TURN_VIEWS, View

SUCCESS, WRONG_ROUTE = RESULTS.index("success"), RESULTS.index("wrong_route")

_ADD_TURNS = """
INSERT INTO turns VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET
    turns = turns + excluded.turns, tool_turns = tool_turns + excluded.tool_turns,
    tool_calls = tool_calls + excluded.tool_calls,
    tool_failures = tool_failures + excluded.tool_failures
"""
_ADD_CALLS = """
INSERT INTO calls VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET
    calls = calls + excluded.calls, failed = failed + excluded.failed,
    input_tokens = input_tokens + excluded.input_tokens,
    cached_tokens = cached_tokens + excluded.cached_tokens,
    output_tokens = output_tokens + excluded.output_tokens,
    reasoning_tokens = reasoning_tokens + excluded.reasoning_tokens,
    unpriced_tokens = unpriced_tokens + excluded.unpriced_tokens,
    cost_pico = cost_pico + excluded.cost_pico
"""

MOST_SCOPES = 10_000
"""So many are remembered at a time: junk shall not fill the memory."""


@define(eq=False)
class Sight:
    """Knows by which numbers the file has what each view sees of a scope."""

    _connection: sqlite3.Connection
    _views: Sequence[View]
    _seen: dict[Scope, Seen] = field(factory=dict, init=False)

    def of(self, scope: Scope) -> Seen:
        """Return the numbers; what is new gets one."""
        found = self._seen.get(scope)
        if found is None:
            if len(self._seen) >= MOST_SCOPES:
                self._seen.clear()
            found = tuple(
                (view.number, view.least_span, self._number(view.of(scope))) for view in self._views
            )
            self._seen[scope] = found
        return found

    def forget(self) -> None:
        """Forget what the file may not have after all."""
        self._seen.clear()

    def _number(self, scope: Scope) -> int:
        values = astuple(scope)
        insert = (
            "INSERT INTO scopes (group_name, route, target, model, purpose, owner) "
            "VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
        )
        self._connection.execute(insert, values)
        (number,) = self._connection.execute(
            "SELECT id FROM scopes WHERE group_name = ? AND route = ? AND target = ? "
            "AND model = ? AND purpose = ? AND owner = ?",
            values,
        ).fetchone()
        return int(number)


@define(eq=False)
class Fold:
    """Adds up. What it remembers of the file holds until its transaction is rolled back."""

    _connection: sqlite3.Connection
    _turns: Sight = field(init=False)
    _calls: Sight = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._turns = Sight(self._connection, TURN_VIEWS)
        self._calls = Sight(self._connection, CALL_VIEWS)

    def add(self, facts: Iterable[Fact]) -> int:
        """Add facts that may have been added before; return the newest minute of a turn."""
        newest, turns, calls = 0, Increments(), Increments()
        for fact in self._unknown([*facts]):
            match fact:
                case TurnFact():
                    newest = max(newest, fact.minute)
                    self._add_turn(turns, fact)
                    self._add_calls(calls, fact.minute, fact.calls)
                case CallsFact():
                    self._know(fact.id, fact.minute)
                    self._add_calls(calls, fact.minute, fact.calls)
                case Objection():
                    self._object(turns, fact)
        self._connection.executemany(_ADD_TURNS, turns.rows())
        self._connection.executemany(_ADD_CALLS, calls.rows())
        return newest

    def forget(self) -> None:
        """Forget what the file may not have after all."""
        self._turns.forget()
        self._calls.forget()

    def _add_turn(self, sums: Increments, fact: TurnFact) -> None:
        seen, result = self._turns.of(fact.scope), RESULTS.index(fact.result)
        if result == SUCCESS and self._was_objected(fact):
            result = WRONG_ROUTE
        scope = seen[-1][2]
        self._know(fact.id, fact.minute, scope, result, fact.tool_calls, fact.tool_failures)
        figures = (1, int(fact.tool_calls > 0), fact.tool_calls, fact.tool_failures)
        sums.add(fact.minute, seen, result, figures)

    def _add_calls(self, sums: Increments, minute: int, calls: Iterable[Call]) -> None:
        for call in calls:
            figures = (
                *(1, int(call.failed), call.input_tokens, call.cached_tokens, call.output_tokens),
                *(call.reasoning_tokens, call.unpriced_tokens, call.cost_pico),
            )
            seen = self._calls.of(call.scope)
            sums.add(minute, seen, int(call.estimated), figures)

    def _know(self, id_: str, minute: int, *rest: int) -> None:
        values = (id_, minute, *(rest or (0, -1, 0, 0)))
        self._connection.execute("INSERT INTO facts VALUES (?, ?, ?, ?, ?, ?)", values)

    def _object(self, sums: Increments, fact: Objection) -> None:
        """Move a success to where it belongs, now or once its turn is known."""
        row = self._connection.execute(
            "SELECT minute, result, tool_calls, tool_failures, group_name, route, target "
            "FROM facts JOIN scopes ON scopes.id = scope WHERE facts.id = ?",
            [fact.turn_id],
        ).fetchone()
        if row is None:
            values = (fact.turn_id, fact.is_bad, fact.route)
            self._connection.execute("INSERT INTO objections VALUES (?, ?, ?)", values)
            return
        minute, result, calls, failures, *names = row
        scope = Scope(*names)
        if result == SUCCESS and fact.holds(scope.target, scope.route):
            change = "UPDATE facts SET result = ? WHERE id = ?"
            self._connection.execute(change, [WRONG_ROUTE, fact.turn_id])
            seen, with_tools = self._turns.of(scope), int(calls > 0)
            sums.add(minute, seen, SUCCESS, (-1, -with_tools, -calls, -failures))
            sums.add(minute, seen, WRONG_ROUTE, (1, with_tools, calls, failures))

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
