"""Sums of facts: those that are asked for, and those that are on their way into the roll-ups."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, TypeAlias

from attrs import define, field

from coe_kpi.fact import Call, Scope
from coe_kpi.span import SPANS


@define
class TurnSums:
    """Turns of one result, added up."""

    turns: int = 0
    tool_turns: int = 0
    tool_calls: int = 0
    tool_failures: int = 0

    def add(self, turns: int, tool_turns: int, tool_calls: int, tool_failures: int) -> None:
        """Add figures, attribute by attribute: it is done for every row that is read."""
        self.turns += turns
        self.tool_turns += tool_turns
        self.tool_calls += tool_calls
        self.tool_failures += tool_failures

    @property
    def figures(self) -> tuple[int, ...]:
        """The figures, as `add` takes them."""
        return self.turns, self.tool_turns, self.tool_calls, self.tool_failures


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

    def add(
        self,
        calls: int,
        failed: int,
        input_tokens: int,
        cached_tokens: int,
        output_tokens: int,
        reasoning_tokens: int,
        unpriced_tokens: int,
        cost_pico: int,
        estimated_tokens: int,
    ) -> None:
        """Add figures, likewise."""
        self.calls += calls
        self.failed += failed
        self.input_tokens += input_tokens
        self.cached_tokens += cached_tokens
        self.output_tokens += output_tokens
        self.reasoning_tokens += reasoning_tokens
        self.unpriced_tokens += unpriced_tokens
        self.cost_pico += cost_pico
        self.estimated_tokens += estimated_tokens

    @property
    def figures(self) -> tuple[int, ...]:
        """The figures, as `add` takes them."""
        return (
            *(self.calls, self.failed, self.input_tokens, self.cached_tokens, self.output_tokens),
            *(self.reasoning_tokens, self.unpriced_tokens, self.cost_pico, self.estimated_tokens),
        )


Label: TypeAlias = Literal["group", "route", "target", "model", "purpose"]


@define
class Sums:
    """What a stretch of time comes to, by scope."""

    turns: dict[tuple[Scope, int], TurnSums] = field(factory=lambda: defaultdict(TurnSums))
    """Scope and result to the turns."""
    calls: dict[Scope, CallSums] = field(factory=lambda: defaultdict(CallSums))

    def turns_by(
        self, by: Label | None, where: Mapping[str, str]
    ) -> dict[str, dict[int, TurnSums]]:
        """Add up turns: label to result to sums; the label of all is ""."""
        found: dict[str, dict[int, TurnSums]] = defaultdict(lambda: defaultdict(TurnSums))
        for (scope, result), sums in self.turns.items():
            if scope.fits(where):
                found[getattr(scope, by) if by else ""][result].add(*sums.figures)
        return found

    def calls_by(
        self, by: Label | None, where: Mapping[str, str], owner: str | None = None
    ) -> dict[str, CallSums]:
        """Add up attempts: label to sums."""
        found: dict[str, CallSums] = defaultdict(CallSums)
        for scope, sums in self.calls.items():
            if scope.fits(where) and owner in (None, scope.owner):
                found[getattr(scope, by) if by else ""].add(*sums.figures)
        return found


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
