"""The plugin: the routes of the API, the command that serves them, and a check of its port."""

from __future__ import annotations

from collections.abc import Sequence

import click
from attrs import frozen

from coe_core import hookimpl
from coe_core.cli import lazy_command
from coe_core.compose import Context
from coe_core.contract import Check, Monitor
from coe_core.http import HttpRoute
from coe_server.settings import Settings


@frozen
class ServerPlugin:
    settings: Settings

    @hookimpl
    def coe_http_routes(self, ctx: Context) -> Sequence[HttpRoute]:
        from coe_server.routes import ROUTES

        return ROUTES

    @hookimpl
    def coe_cli_commands(self, ctx: Context) -> Sequence[click.Command]:
        @lazy_command
        def serve() -> click.Command:
            """Serve the OpenAI API over HTTP, until Ctrl-C."""
            from coe_server.command import serve_command

            return serve_command(self.settings)

        return [serve]

    @hookimpl
    def coe_monitors(self, ctx: Context) -> Sequence[Monitor]:
        from coe_server.gate import Gate

        return [Gate(self.settings)]

    @hookimpl
    def coe_checks(self, ctx: Context) -> Sequence[Check]:
        from coe_server.check import PortCheck

        return [PortCheck(self.settings)]
