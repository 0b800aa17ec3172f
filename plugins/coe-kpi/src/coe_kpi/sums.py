"""Sums of facts: those that are asked for, and those that are on their way into the roll-ups."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from attrs import define, field, frozen

from coe_kpi.span import SPANS


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

    _rows: dict[tuple[int, ...], list[int]] = field(factory=dict)

    def add(
        self, minute: int, seen: Iterable[tuple[int, int, int]], kind: int, figures: Sequence[int]
    ) -> None:
        """Add figures of a kind to the minute, hour and day, as each view (its number, its least
        span, and the number of the scope) sees them.
        """
        rows = self._rows
        for span in SPANS:
            bucket = minute // span * span
            for view, least_span, scope in seen:
                if span < least_span:
                    continue
                key = (view, span, bucket, scope, kind)
                kept = rows.get(key)
                if kept is None:
                    rows[key] = [*figures]
                else:
                    for place, figure in enumerate(figures):
                        kept[place] += figure

    def rows(self) -> Iterator[tuple[int, ...]]:
        """Yield rows for the table, in its order."""
        return ((*key, *self._rows[key]) for key in sorted(self._rows))
