"""Sums of facts: those that are asked for, and those that are on their way into the roll-ups."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeAlias, TypeVar

from attrs import define, field, frozen

from coe_kpi.span import SPANS

K = TypeVar("K")
Seen: TypeAlias = "tuple[tuple[int, int, int], ...]"
"""Numbers of views, each with its least span and the number of what it sees of a scope."""


@frozen
class TurnSums:
    """Turns of one result, added up."""

    turns: int = 0
    tool_turns: int = 0
    tool_calls: int = 0
    tool_failures: int = 0

    def __add__(self, other: TurnSums) -> TurnSums:
        return TurnSums(
            self.turns + other.turns,
            self.tool_turns + other.tool_turns,
            self.tool_calls + other.tool_calls,
            self.tool_failures + other.tool_failures,
        )


@frozen
class CallSums:
    """Attempts, added up; `estimated_tokens` are among the tokens."""

    calls: int = 0
    failed: int = 0
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    unpriced_tokens: int = 0
    cost_pico: int = 0
    estimated_tokens: int = 0

    def __add__(self, other: CallSums) -> CallSums:
        return CallSums(
            self.calls + other.calls,
            self.failed + other.failed,
            self.input_tokens + other.input_tokens,
            self.cached_tokens + other.cached_tokens,
            self.output_tokens + other.output_tokens,
            self.reasoning_tokens + other.reasoning_tokens,
            self.unpriced_tokens + other.unpriced_tokens,
            self.cost_pico + other.cost_pico,
            self.estimated_tokens + other.estimated_tokens,
        )


@define
class Increments:
    """Increments of the roll-ups, by key, so that a batch touches each row once."""

    _sums: dict[tuple[int, Seen, int], list[int]] = field(factory=dict)
    """By what is alike of many turns: their minute, how they are seen, and their kind."""

    def add(self, minute: int, seen: Seen, kind: int, figures: Sequence[int]) -> None:
        """Add figures of a kind to a minute, and to its hour and day, as each view sees them."""
        _add(self._sums, (minute, seen, kind), figures)

    def rows(self) -> Iterator[tuple[int, ...]]:
        """Yield rows for the table, in its order."""
        rows: dict[tuple[int, ...], list[int]] = {}
        for (minute, seen, kind), figures in self._sums.items():
            for span in SPANS:
                bucket = minute // span * span
                for view, least_span, scope in seen:
                    if span >= least_span:
                        _add(rows, (view, span, bucket, scope, kind), figures)
        return ((*key, *rows[key]) for key in sorted(rows))


def _add(sums: dict[K, list[int]], key: K, figures: Sequence[int]) -> None:
    kept = sums.get(key)
    if kept is None:
        sums[key] = [*figures]
    else:
        for place, figure in enumerate(figures):
            kept[place] += figure
