"""The plugin `kpi`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import click
from attrs import define, field

from coe_core.cli import lazy_command
from coe_core.contract import AlertRule, AlertSink, Job, Monitor, Panel
from coe_core.hookspec import hookimpl
from coe_core.http import HttpRoute
from coe_core.service import Clock, Deployment, RecordReader, StateStore
from coe_kpi.settings import Settings

if TYPE_CHECKING:
    from coe_core.compose import Context
    from coe_kpi.book import Book
    from coe_kpi.rule import Rule


@define(eq=False)
class KpiPlugin:
    settings: Settings
    _book: Book | None = field(default=None, init=False)

    @hookimpl
    def coe_monitors(self, ctx: Context) -> Sequence[Monitor]:
        return [self._shared_book(ctx)]

    @hookimpl
    def coe_http_routes(self, ctx: Context) -> Sequence[HttpRoute]:
        from coe_kpi.exposition import ROUTE
        from coe_kpi.route import kpi_route

        book = self._shared_book(ctx)
        return [kpi_route(book, ZoneInfo(self.settings.zone)), ROUTE]

    @hookimpl
    def coe_panels(self, ctx: Context) -> Sequence[Panel]:
        from coe_kpi.panel import KpiPanel

        return [KpiPanel(self._shared_book(ctx), ctx.need(RecordReader), ctx.need(Clock))]

    @hookimpl
    def coe_alert_sinks(self, ctx: Context) -> Sequence[AlertSink]:
        from coe_kpi.delivery import sinks

        return sinks(self.settings)

    @hookimpl
    def coe_alert_rules(self, ctx: Context) -> Sequence[AlertRule]:
        from coe_kpi.filed import FiledRule

        store = ctx.need(StateStore)
        return [FiledRule(rule.name, store) for rule in self._rules() if rule.plugin is None]

    @hookimpl
    def coe_jobs(self, ctx: Context) -> Sequence[Job]:
        from coe_kpi.round import AlertRound

        every = timedelta(seconds=self.settings.alert_s)
        deployment, clock, store = ctx.need(Deployment), ctx.need(Clock), ctx.need(StateStore)
        return [AlertRound(deployment, clock, store, self._rules(), every)]

    @hookimpl
    def coe_cli_commands(self, ctx: Context) -> Sequence[click.Command]:
        @lazy_command
        def kpi() -> click.Command:
            """Show token usage, tool calls, routing success and cost per success of a window."""
            from coe_kpi.command import kpi_command

            return kpi_command(ZoneInfo(self.settings.zone))

        @lazy_command
        def alerts() -> click.Command:
            """See which alerts hold, test their delivery, silence them, export the rules."""
            from coe_kpi.alert_command import alerts_command

            return alerts_command(self.settings)

        return [kpi, alerts]

    def _rules(self) -> tuple[Rule, ...]:
        from coe_kpi.rule import load

        return load(self.settings.rules)

    def _shared_book(self, ctx: Context) -> Book:
        from coe_kpi.book import Book
        from coe_kpi.gauge import Gauges

        if self._book is None:
            reader, clock, groups = ctx.need(RecordReader), ctx.need(Clock), ctx.settings.groups
            budgets = {name: table.budget_usd_month for name, table in groups.items()}
            gauges = Gauges({name: usd for name, usd in budgets.items() if usd is not None})
            self._book = Book(ctx.data_dir, reader, clock, self.settings.fold_s, gauges)
        return self._book
