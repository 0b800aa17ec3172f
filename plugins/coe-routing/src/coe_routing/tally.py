"""Recorded outcomes, counted by group, kind of request and model, and what they let expect."""

from __future__ import annotations

from collections.abc import Iterable

from attrs import define, field, frozen

GUESS = 0.8
"""How likely a model is taken to succeed of which nothing is recorded."""


@frozen(kw_only=True)
class Count:
    """Outcomes of one kind."""

    good: float = 0.0
    bad: float = 0.0

    @property
    def turns(self) -> float:
        """How many."""
        return self.good + self.bad


@frozen(kw_only=True)
class Expectation:
    """How likely a success is, what that rests on, and how far it may be off."""

    mean: float
    deviation: float
    turns: float
    """The outcomes of this very group, kind and model."""


NONE = Count()


@define
class Tally:
    """The counts. Each outcome counts for its group and kind, for its kind in any group, and for
    its model at all: counts are shared between groups, requests never.
    """

    prior_turns: float
    _counts: dict[tuple[str | None, str | None, str], Count] = field(factory=dict, init=False)

    def add(self, group: str, name: str, model: str, *, good: bool, weight: float = 1.0) -> None:
        """Count an outcome; with `weight` -1 take one back."""
        more_good, more_bad = (weight, 0.0) if good else (0.0, weight)
        for key in _circles(group, name, model):
            count = self._counts.get(key, NONE)
            self._counts[key] = Count(
                good=max(0.0, count.good + more_good), bad=max(0.0, count.bad + more_bad)
            )

    def expect(self, group: str, name: str, model: str) -> Expectation:
        """Expect: each circle's own share, drawn to that of the wider one as if that were
        `prior_turns` outcomes.
        """
        mean, turns = GUESS, 0.0
        for key in _circles(group, name, model):
            count = self._counts.get(key, NONE)
            turns = count.turns
            mean = (count.good + self.prior_turns * mean) / (turns + self.prior_turns)
        deviation = (mean * (1 - mean) / (turns + self.prior_turns + 1)) ** 0.5
        return Expectation(mean=mean, deviation=deviation, turns=turns)


def _circles(group: str, name: str, model: str) -> Iterable[tuple[str | None, str | None, str]]:
    """Name the circles that an outcome belongs to, the widest first."""
    return ((None, None, model), (None, name, model), (group, name, model))
