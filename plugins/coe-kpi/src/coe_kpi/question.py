"""Questions to the roll-ups, in SQL.

Each is answered in one row of JSON: between two rows Python would wait for its lock, and for
whoever has it. Beyond the labels that are shown all are one, so that junk costs no more than it
takes SQLite to pass over it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias

from coe_kpi.view import Cut, Label, View

Table: TypeAlias = Literal["turns", "calls"]

COLUMNS: Mapping[Label, str] = {
    "group": "group_name",
    "route": "route",
    "target": "target",
    "model": "model",
    "purpose": "purpose",
}
Count: TypeAlias = tuple[Table, Label | None, Sequence[int] | None]
"""What is counted of a table, by which label, and of which scopes alone."""

KINDS: Mapping[Table, str] = {"turns": "result", "calls": "estimated"}
FIGURES: Mapping[Table, tuple[str, ...]] = {
    "turns": ("turns", "tool_turns", "tool_calls", "tool_failures"),
    "calls": (
        *("calls", "failed", "input_tokens", "cached_tokens", "output_tokens"),
        *("reasoning_tokens", "unpriced_tokens", "cost_pico"),
    ),
}

FEW = 32
"""Rows of so many scopes are found by their keys; of more row by row, which takes less then."""

BUCKETS = """
SELECT DISTINCT bucket FROM turns
WHERE view = :view AND span = :span AND bucket >= :since AND bucket < :until
    AND scope IN (SELECT value FROM json_each(:scopes))
    AND result IN (SELECT value FROM json_each(:results))
    AND turns > 0 AND (tool_turns > 0 OR NOT :with_tools)
ORDER BY bucket DESC
"""
BEHIND = """
SELECT id, result FROM facts INDEXED BY facts_minute
WHERE minute = :minute AND scope IN (SELECT value FROM json_each(:scopes))
    AND result IN (SELECT value FROM json_each(:results))
    AND (tool_calls > 0 OR NOT :with_tools) AND result >= 0
ORDER BY id DESC
"""


def sums(table: Table, by: Label | None, scopes: Sequence[int] | None) -> str:
    """Add up: part, label, owner, result or whether estimated, and the figures. The label of what
    is not shown is null.
    """
    label = _label(by)
    if by is not None:
        label = f"CASE WHEN {label} IN (SELECT value FROM json_each(:shown)) THEN {label} END"
    figures = ", ".join(f"sum({figure}) AS {figure}" for figure in FIGURES[table])
    return f"""
        SELECT json_group_array(json_array(part, label, owner, kind, {", ".join(FIGURES[table])}))
        FROM (
            SELECT asked.value ->> 1 AS part, {label} AS label, owner, {KINDS[table]} AS kind,
                {figures}
            {_rows(table, scopes)} GROUP BY 1, 2, 3, 4
        )
    """


def largest(counts: Sequence[Count]) -> str:
    """List the values of labels, those with the most turns and attempts first."""
    selects = " UNION ALL ".join(
        f"SELECT {_label(by)} AS label, sum({table}) AS weight "
        f"{_rows(table, scopes, str(number))} GROUP BY scope"
        for number, (table, by, scopes) in enumerate(counts)
    )
    return f"""
        SELECT json_group_array(label) FROM (
            SELECT label FROM ({selects})
            GROUP BY label ORDER BY sum(weight) DESC, label LIMIT :most
        )
    """


def fitting(view: View, cut: Cut) -> tuple[str, list[str]]:
    """List the scopes that fit, as a view has them; the values to be given."""
    wanted = {
        column: cut.where.get(label, "")
        for label, column in COLUMNS.items()
        if label in cut.where or label not in view.labels
    }
    conditions = " AND ".join(f"{column} = ?" for column in wanted)
    return f"SELECT id FROM scopes WHERE {conditions or 'true'}", [*wanted.values()]


def _label(by: Label | None) -> str:
    return COLUMNS[by] if by is not None else "''"


def _rows(table: Table, scopes: Sequence[int] | None, suffix: str = "") -> str:
    # In this order: of each bucket that is asked for the rows, of each row the scope.
    condition = ""
    if scopes is not None:
        hint = "" if len(scopes) <= FEW else "+"
        condition = f"AND {hint}scope IN (SELECT value FROM json_each(:scopes{suffix}))"
    return f"""
        FROM json_each(:buckets{suffix}) AS asked CROSS JOIN {table} CROSS JOIN scopes
        WHERE view = :view{suffix} AND span = :span{suffix} AND bucket = asked.value ->> 0
            AND scopes.id = scope {condition}
    """
