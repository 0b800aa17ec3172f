"""Decide where a request goes: by rules, by meaning, by recorded outcomes, by health."""

from __future__ import annotations

from collections.abc import Sequence

import click
from attrs import define, field, frozen

from coe_core.cli import lazy_command
from coe_core.compose import Context
from coe_core.contract import Agent, EventSink, Panel, Router
from coe_core.hookspec import hookimpl
from coe_core.http import HttpRoute
from coe_core.service import Deployment
from coe_routing.routes_file import all_routes
from coe_routing.settings import RouteTable, Settings


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
        @lazy_command
        def routes() -> click.Command:
            """List routes; see where a request would go and why; score a file."""
            from coe_routing.command import command

            return command

        return [routes]

    @hookimpl
    def coe_http_routes(self, ctx: Context) -> Sequence[HttpRoute]:
        from coe_routing.explanation import ROUTE

        return [ROUTE]

    @hookimpl
    def coe_panels(self, ctx: Context) -> Sequence[Panel]:
        from coe_routing.panel import RoutesPanel

        return [RoutesPanel(ctx.need(Deployment))]

    def _made(self, ctx: Context) -> Parts:
        if self._parts is None:
            from coe_routing.assembly import assemble

            self._parts = assemble(ctx, self.settings, self._routes)
        return self._parts
