"""The router by health and load: models that fail, or are slow, are left alone for a while."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import define, evolve, field, frozen

from coe_core.error import (
    ModelCrashed,
    UpstreamCut,
    UpstreamDenied,
    UpstreamError,
    UpstreamMalformed,
    UpstreamOverloaded,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from coe_core.ledger import Attempt
from coe_core.record import Interaction, Record
from coe_core.service import Clock
from coe_core.turn import Candidate, Route, Turn
from coe_routing.destination import Standing
from coe_routing.settings import HealthTable

AT_FAULT = frozenset(
    error.code
    for error in (
        ModelCrashed,
        UpstreamCut,
        UpstreamDenied,
        UpstreamError,
        UpstreamMalformed,
        UpstreamOverloaded,
        UpstreamTimeout,
        UpstreamUnreachable,
    )
)
"""The errors of an attempt that speak against its model; a rejected request does not."""
NEWEST = 0.2
"""How much the newest attempt weighs in the mean time to the first token."""


@frozen(kw_only=True)
class Pulse:
    """How a model has been doing, as this process has seen it."""

    failures: int = 0
    """In a row."""
    cooldowns: int = 0
    """Since the last success."""
    resting_until_s: float = float("-inf")
    first_token_s: float | None = None
    """The moving mean."""


WELL = Pulse()


@define(eq=False)
class Pulses:
    """The pulse of each model; an event sink, to which every turn tells its attempts."""

    settings: HealthTable
    clock: Clock
    name: str = "health"
    _pulses: dict[str, Pulse] = field(factory=dict, init=False)

    async def receive(self, record: Record) -> None:
        if isinstance(record, Interaction):
            for attempt in record.attempts:
                self._pulses[attempt.model] = self._after(self[attempt.model], attempt)

    def __getitem__(self, model: str) -> Pulse:
        """Return a model's pulse."""
        return self._pulses.get(model, WELL)

    def resting_s(self, model: str) -> float:
        """Return for how long a model is still left alone, 0 when it is not. When the time is
        over the next turn may try it: its success ends the matter, its failure doubles the time.
        """
        return max(0.0, self[model].resting_until_s - self.clock.monotonic_s())

    def is_slow(self, model: str) -> bool:
        """Whether its mean time to the first token is above the limit."""
        limit, mean = self.settings.slow_s, self[model].first_token_s
        return limit is not None and mean is not None and mean > limit

    def _after(self, pulse: Pulse, attempt: Attempt) -> Pulse:
        if attempt.outcome == "ok":
            return Pulse(first_token_s=_mean(pulse.first_token_s, attempt.first_token_s))
        if attempt.outcome == "cancelled" or attempt.error_code not in AT_FAULT:
            return pulse
        failures = pulse.failures + 1
        if failures < self.settings.failures and not pulse.cooldowns:
            return evolve(pulse, failures=failures)
        length_s = self.settings.cooldown_s * 2.0 ** min(pulse.cooldowns, 30)
        until_s = self.clock.monotonic_s() + min(length_s, self.settings.longest_cooldown_s)
        return evolve(
            pulse, failures=failures, cooldowns=pulse.cooldowns + 1, resting_until_s=until_s
        )


def _mean(before: float | None, newest: float | None) -> float | None:
    if before is None or newest is None:
        return before if newest is None else newest
    return before + NEWEST * (newest - before)


@define(eq=False)
class HealthRouter:
    """Puts the models of a route that are not well last; and takes another than the default when
    that is not well.
    """

    pulses: Pulses
    name: str = "health"

    async def route(self, turn: Turn) -> Route | None:
        routing = turn.application.settings.routing
        if self._is_well(routing.default):
            return None
        allowed = turn.application.allowed_models(turn.principal)
        spares = [m for m in routing.fallbacks.get(routing.default, ()) if m in allowed]
        if not spares or not self._is_well((standings := self.rank(turn, spares, ""))[0].model):
            return None
        (default,) = self.rank(turn, [routing.default], "")
        return Route(
            model=standings[0].model,
            confidence=0.5,
            reason=f"it stands in for the default: {default.reason}",
            candidates=(Candidate(target=routing.default, score=0.0, reason=default.reason),),
        )

    def rank(self, turn: Turn, models: Sequence[str], name: str) -> list[Standing]:
        standings = [
            Standing(model=model, score=0.0, reason=self._trouble(model)) for model in models
        ]
        # Those that rest come last, the one that may soon be tried again before the others.
        return sorted(
            standings, key=lambda s: (self.pulses.resting_s(s.model), self.pulses.is_slow(s.model))
        )

    async def abstention(self, turn: Turn) -> str:
        """Say why the router leaves a turn to the others."""
        routing = turn.application.settings.routing
        if self._is_well(routing.default):
            return f"the default, {routing.default!r}, is well"
        return f"nothing that is well stands in for the default, {routing.default!r}"

    def _is_well(self, model: str) -> bool:
        return not self.pulses.resting_s(model) and not self.pulses.is_slow(model)

    def _trouble(self, model: str) -> str:
        if rest_s := self.pulses.resting_s(model):
            failures = self.pulses[model].failures
            return f"{model} failed {failures} times in a row and rests for {rest_s:.0f} s"
        if self.pulses.is_slow(model):
            return f"{model} takes {self.pulses[model].first_token_s:.1f} s to begin"
        return ""
