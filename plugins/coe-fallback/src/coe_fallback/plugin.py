"""The plugin `fallback`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click
from attrs import define, field

from coe_core.cli import lazy_command
from coe_core.contract import AlertRule, AttemptPolicy, Monitor, Panel
from coe_core.hookspec import hookimpl
from coe_core.http import HttpRoute
from coe_core.service import Clock, Deployment, StateStore
from coe_fallback.settings import Settings

if TYPE_CHECKING:
    from coe_core.compose import Context
    from coe_fallback.breaker import Breakers
    from coe_fallback.retry_budget import RetryBudget


@define(eq=False)
class FallbackPlugin:
    """Contributes the policy, and what shows, measures and switches it."""

    settings: Settings
    _shared: tuple[Breakers, RetryBudget] | None = field(default=None, init=False)

    @hookimpl
    def coe_attempt_policies(self, ctx: Context) -> Sequence[AttemptPolicy]:
        from coe_fallback.exchange import Exchange
        from coe_fallback.policy import FallbackPolicy

        breakers, budget = self._state(ctx)
        exchange = Exchange(breakers, ctx.need(StateStore))
        return [FallbackPolicy(self.settings, exchange, budget)]

    @hookimpl
    def coe_monitors(self, ctx: Context) -> Sequence[Monitor]:
        from coe_fallback.monitor import FallbackMonitor

        return [FallbackMonitor(*self._state(ctx))]

    @hookimpl
    def coe_alert_rules(self, ctx: Context) -> Sequence[AlertRule]:
        from coe_fallback.alert import BreakerOpen, FallbackActive

        return [BreakerOpen(self._state(ctx)[0]), FallbackActive(ctx.need(StateStore))]

    @hookimpl
    def coe_panels(self, ctx: Context) -> Sequence[Panel]:
        from coe_fallback.panel import FallbackPanel

        return [FallbackPanel(self.settings, ctx.need(Deployment))]

    @hookimpl
    def coe_cli_commands(self, ctx: Context) -> Sequence[click.Command]:
        @lazy_command
        def fallback() -> click.Command:
            """Switch the last resort on and off; see which targets are left alone."""
            from coe_fallback.command import fallback_command

            return fallback_command(self.settings)

        return [fallback]

    @hookimpl
    def coe_http_routes(self, ctx: Context) -> Sequence[HttpRoute]:
        from coe_fallback.route import routes

        return routes(self.settings)

    def _state(self, ctx: Context) -> tuple[Breakers, RetryBudget]:
        """Return what all of them look at."""
        from coe_fallback.breaker import Breakers, Rules
        from coe_fallback.retry_budget import RetryBudget

        if self._shared is None:
            settings = self.settings
            rules = Rules(failures=settings.breaker_failures, open_s=settings.breaker_open_s)
            breakers = Breakers(ctx.need(Clock), rules)
            self._shared = breakers, RetryBudget(settings.retry_share)
        return self._shared
