"""The plugin `fallback`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from attrs import define, field

from coe_core.contract import AttemptPolicy
from coe_core.hookspec import hookimpl
from coe_core.service import Clock, StateStore
from coe_fallback.breaker import Breakers, Rules
from coe_fallback.policy import FallbackPolicy
from coe_fallback.retry_budget import RetryBudget
from coe_fallback.settings import Settings

if TYPE_CHECKING:
    from coe_core.compose import Context


@define(eq=False)
class FallbackPlugin:
    """Contributes the policy, and what shows and switches it."""

    settings: Settings
    _breakers: Breakers | None = field(default=None, init=False)

    @hookimpl
    def coe_attempt_policies(self, ctx: Context) -> Sequence[AttemptPolicy]:
        budget = RetryBudget(self.settings.retry_share)
        return [FallbackPolicy(self.settings, self._shared_breakers(ctx), budget)]

    def _shared_breakers(self, ctx: Context) -> Breakers:
        if self._breakers is None:
            settings = self.settings
            rules = Rules(failures=settings.breaker_failures, open_s=settings.breaker_open_s)
            self._breakers = Breakers(ctx.need(Clock), ctx.need(StateStore), rules)
        return self._breakers
