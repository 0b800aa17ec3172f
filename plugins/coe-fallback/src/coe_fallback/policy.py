"""What follows a failure: the same again, the next target, a continuation, the last resort."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from itertools import chain

from attrs import define, field

from coe_core.contract import (
    Continue,
    Failure,
    GiveUp,
    Held,
    Retry,
    Switch,
    Verdict,
)
from coe_core.error import (
    CoeError,
    UpstreamDenied,
    UpstreamOverloaded,
    UpstreamTimeout,
)
from coe_core.ledger import Attempt
from coe_core.turn import Turn
from coe_fallback.breaker import Breakers
from coe_fallback.continuation import continued, is_continuable, left_tokens
from coe_fallback.exchange import Exchange
from coe_fallback.retry_budget import RetryBudget
from coe_fallback.seam import Overlap
from coe_fallback.settings import Policy, Settings

MOST_FAILURES = 8
"""Of one turn, whatever is still left to try."""
LONGEST_WAIT_S = 20.0
"""A client is not kept waiting longer for the same target."""


@define(eq=False)
class FallbackPolicy:
    """A `ResiliencePolicy`."""

    settings: Settings
    exchange: Exchange
    budget: RetryBudget = field(factory=RetryBudget)
    chance: Callable[[], float] = random.random
    name: str = "fallback"

    @property
    def breakers(self) -> Breakers:
        """The breakers that all workers share."""
        return self.exchange.breakers

    async def open(self) -> None:
        await self.exchange.open()

    async def close(self) -> None:
        await self.exchange.close()

    def holds(self, turn: Turn) -> Held:
        match self._policy(turn):
            case "restart":
                return "nothing"
            case "continue" if is_continuable(turn.request):
                return "unfinished"
            case _:
                return "everything"

    def instead(self, turn: Turn, model: str, fallbacks: tuple[str, ...]) -> str | None:
        """Leave out a target whose breaker is open, as long as another can be called: where none
        can, there is nothing to lose.
        """
        for target in chain([model], fallbacks, self._local(turn)):
            if self.breakers.admits(target):
                self.breakers.enter(target)
                return target
        return None

    async def note(self, turn: Turn, attempt: Attempt, error: CoeError | None) -> None:
        if error is None:
            self.budget.earn()
        self.breakers.note(attempt.model, error)

    async def after_failure(self, turn: Turn, failure: Failure) -> Verdict:
        failed = [attempt.model for attempt in failure.attempts if attempt.outcome == "failed"]
        if len(failed) >= MOST_FAILURES or not self._may_go_on(turn, failure, failed):
            return GiveUp()
        error, again = failure.error, failed.count(failure.model) <= self.settings.retries
        is_lasting = isinstance(error, UpstreamDenied) or not error.retryable
        is_brief = not is_lasting and not isinstance(error, UpstreamOverloaded | UpstreamTimeout)
        if again and is_brief and not failure.started and self.budget.spend():
            return Retry(after_s=self._pause_s(failed.count(failure.model)))
        for target in filter(self.breakers.admits, failure.fallbacks):
            return self._go_on(turn, failure, target)
        wait_s = max(error.retry_after_s or 0.0, self._pause_s(len(failed)))
        if again and not is_lasting and wait_s <= LONGEST_WAIT_S and self.budget.spend():
            if failure.started:
                return self._go_on(turn, failure, failure.model)
            return Retry(after_s=wait_s)
        rest = (alias for alias in self._local(turn) if alias not in failed)
        for target in (*rest, *failure.fallbacks):
            return self._go_on(turn, failure, target)
        return GiveUp()

    async def last_resort(self, turn: Turn, failure: Failure) -> Switch | Continue | None:
        target = self.settings.openai
        is_on = turn.params.get("fallback_to_openai", self.settings.fallback_to_openai)
        if not is_on or target is None:
            return None
        if target not in turn.application.allowed_models(turn.principal):
            return None
        return self._go_on(turn, failure, target)

    def _may_go_on(self, turn: Turn, failure: Failure, failed: list[str]) -> bool:
        """Whether another attempt may help, and may be seen: a target's refusal of the request
        says something of the request only where the first target refuses.
        """
        at_fault = not failure.error.retryable and set(failed) <= {failure.model}
        return not at_fault and (not failure.started or self._policy(turn) == "continue")

    def _go_on(self, turn: Turn, failure: Failure, target: str) -> Switch | Continue:
        if not failure.started:
            return Switch(model=target)
        return Continue(
            model=target,
            messages=continued(failure.messages or turn.request.messages, failure.text),
            output_limit_tokens=left_tokens(turn.request, failure.text),
            seam=Overlap(failure.text) if failure.text else None,
        )

    def _policy(self, turn: Turn) -> Policy:
        chosen: Policy = turn.params.get("fallback_policy", self.settings.fallback_policy)
        return chosen

    def _local(self, turn: Turn) -> Iterator[str]:
        alias = self.settings.local
        if alias is not None and alias in turn.application.allowed_models(turn.principal):
            yield alias

    def _pause_s(self, failures: int) -> float:
        """Wait twice as long each time, by chance somewhat less: full jitter, as M. Brooker
        (Exponential Backoff And Jitter, 2015) found to spread callers best.
        """
        longest_s = min(LONGEST_WAIT_S, self.settings.backoff_s * 2.0 ** (failures - 1))
        return self.chance() * longest_s
