"""Keep the durable log of turns, and the tables made from it."""

from __future__ import annotations

from collections.abc import Sequence

import click
from attrs import frozen

from coe_core.compose import Context
from coe_core.contract import Check
from coe_core.hookspec import hookimpl
from coe_core.http import HttpRoute
from coe_core.service import Clock, Journal, RecordReader, Service, SessionStore
from coe_records import feedback
from coe_records.check import RecordsCheck
from coe_records.command import records_command
from coe_records.records import Records
from coe_records.settings import Settings


@frozen
class RecordsPlugin:
    settings: Settings

    @hookimpl
    def coe_services(self, ctx: Context) -> Sequence[Service]:
        records = Records(ctx.data_dir, ctx.need(Clock), self.settings.segment_bytes)
        contracts = (Journal, RecordReader, SessionStore)
        return [Service(contract=contract, provider=records) for contract in contracts]

    @hookimpl
    def coe_checks(self, ctx: Context) -> Sequence[Check]:
        return [RecordsCheck(ctx.data_dir)]

    @hookimpl
    def coe_cli_commands(self, ctx: Context) -> Sequence[click.Command]:
        return [records_command(self.settings), feedback.command]

    @hookimpl
    def coe_http_routes(self, ctx: Context) -> Sequence[HttpRoute]:
        return [feedback.ROUTE]
