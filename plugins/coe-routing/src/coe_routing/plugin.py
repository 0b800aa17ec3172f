"""Decide where a request goes: by rules, by meaning, by recorded outcomes, by health."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import click
from attrs import define, field, frozen

from coe_core.compose import Context
from coe_core.contract import Agent, EventSink, Router
from coe_core.hookspec import hookimpl
from coe_core.http import HttpRoute
from coe_core.service import Caller, Clock, Embedder, RecordReader
from coe_routing.clarification import ClarifyAgent, titles
from coe_routing.command import command
from coe_routing.destination import destinations
from coe_routing.embedding import Embedders, Shelf
from coe_routing.explanation import ROUTE
from coe_routing.explicit import ExplicitRouter
from coe_routing.health import HealthRouter, Pulses
from coe_routing.learnt import Learnt
from coe_routing.quality import OutcomeSink, QualityRouter
from coe_routing.routes_file import all_routes
from coe_routing.rules import RulesRouter
from coe_routing.semantic import SemanticRouter
from coe_routing.settings import RouteTable, Settings
from coe_routing.tally import Tally


@frozen(kw_only=True)
class Parts:
    """The components, made together: some know each other."""

    routers: tuple[Router, ...]
    sinks: tuple[EventSink, ...]
    agents: tuple[Agent, ...]


@define
class RoutingPlugin:
    settings: Settings
    _routes: dict[str, RouteTable] = field(init=False)
    _parts: Parts | None = field(default=None, init=False)

    @_routes.default
    def _(self) -> dict[str, RouteTable]:
        return all_routes(self.settings)

    @hookimpl
    def coe_routers(self, ctx: Context) -> Sequence[Router]:
        return self._made(ctx).routers

    @hookimpl
    def coe_event_sinks(self, ctx: Context) -> Sequence[EventSink]:
        return self._made(ctx).sinks

    @hookimpl
    def coe_agents(self, ctx: Context) -> Sequence[Agent]:
        return self._made(ctx).agents

    @hookimpl
    def coe_cli_commands(self, ctx: Context) -> Sequence[click.Command]:
        return [command]

    @hookimpl
    def coe_http_routes(self, ctx: Context) -> Sequence[HttpRoute]:
        return [ROUTE]

    def _made(self, ctx: Context) -> Parts:
        if self._parts is None:
            self._parts = self._make(ctx)
        return self._parts

    def _make(self, ctx: Context) -> Parts:
        settings, clock, reader = self.settings, ctx.need(Clock), ctx.need(RecordReader)
        routes, shown = destinations(self._routes), titles(self._routes)
        tally = Tally(settings.quality.prior_turns)
        pulses = Pulses(settings.health, clock)
        learnt = Learnt(reader, clock, routes)
        lookback = timedelta(days=settings.quality.lookback_days)
        semantic = SemanticRouter(
            tables=self._routes,
            routes=routes,
            out_of_scope=settings.out_of_scope,
            min_confidence=settings.min_confidence,
            unsure=settings.unsure,
            embedders=Embedders(ctx.need(Embedder), ctx.need(Caller), settings.second_embedder),
            shelf=Shelf(ctx.data_dir / "routing"),
            learnt=learnt if settings.learn else None,
        )
        return Parts(
            routers=(
                ExplicitRouter(routes, shown),
                RulesRouter(settings.rules, routes),
                semantic,
                QualityRouter(settings.quality, tally),
                HealthRouter(pulses),
            ),
            sinks=(pulses, learnt, OutcomeSink(tally, reader, clock, lookback)),
            agents=(ClarifyAgent(semantic, shown),),
        )
