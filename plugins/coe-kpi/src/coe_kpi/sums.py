"""Sums of facts: those that are asked for, and those that are on their way into the roll-ups."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

from attrs import astuple, define, field, fields

from coe_kpi.fact import Call
from coe_kpi.span import SPANS


@define
class TurnSums:
    """Turns of one result, added up."""

    turns: int = 0
    tool_turns: int = 0
    tool_calls: int = 0
    tool_failures: int = 0


@define
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


T = TypeVar("T", TurnSums, CallSums)


@define
class Increments:
    """Increments of the roll-ups, by key, so that a batch touches each row once."""

    _turns: dict[tuple[int, ...], list[int]] = field(factory=dict)
    _calls: dict[tuple[int, ...], list[int]] = field(factory=dict)

    def add_turn(self, minute: int, scope: int, result: int, figures: Sequence[int]) -> None:
        """Add a turn to its minute, hour and day."""
        self._add(self._turns, minute, (scope, result), figures)

    def add_call(self, minute: int, scope: int, call: Call) -> None:
        """Add an attempt."""
        figures = (
            *(1, call.failed, call.input_tokens, call.cached_tokens, call.output_tokens),
            *(call.reasoning_tokens, call.unpriced_tokens, call.cost_pico),
        )
        self._add(self._calls, minute, (scope, call.estimated), figures)

    def turn_rows(self) -> Iterator[tuple[int, ...]]:
        """Yield rows for the table."""
        return ((*key, *figures) for key, figures in self._turns.items())

    def call_rows(self) -> Iterator[tuple[int, ...]]:
        """Yield rows for the table."""
        return ((*key, *figures) for key, figures in self._calls.items())

    def _add(
        self,
        sums: dict[tuple[int, ...], list[int]],
        minute: int,
        key: tuple[int, ...],
        figures: Sequence[int],
    ) -> None:
        for span in SPANS:
            kept = sums.setdefault((span, minute // span * span, *key), [0] * len(figures))
            kept[:] = [a + b for a, b in zip(kept, figures, strict=True)]


def add_row(sums: TurnSums | CallSums, row: Iterable[int]) -> None:
    """Add figures in the order of the fields."""
    for each, value in zip(fields(type(sums)), row, strict=True):
        setattr(sums, each.name, getattr(sums, each.name) + value)


def add_sums(sums: T, others: T) -> None:
    """Add other sums of the same kind."""
    add_row(sums, astuple(others))
