"""What is measured of targets and retries."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import frozen

from coe_core.contract import Sample
from coe_fallback.breaker import Breakers
from coe_fallback.retry_budget import RetryBudget

OPEN = {"closed": 0.0, "half_open": 0.5, "open": 1.0}


@frozen
class FallbackMonitor:
    """`coe_fallback_breaker_open` of each target that has failed lately, and the retries left."""

    breakers: Breakers
    budget: RetryBudget
    name: str = "fallback"

    async def measure(self) -> Sequence[Sample]:
        now = self.breakers.clock.now()
        samples = [
            Sample(
                metric="coe_fallback_breaker_open",
                value=OPEN[str(described["state"])],
                at=now,
                labels={"target": alias},
            )
            for alias, described in self.breakers.standing().items()
        ]
        left = Sample(metric="coe_fallback_retries_left", value=self.budget.left, at=now)
        return [*samples, left]
