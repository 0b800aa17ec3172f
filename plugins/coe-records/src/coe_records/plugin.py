"""Keep the durable log of turns, and the tables made from it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click
from attrs import define, field

from coe_core.cli import lazy_command
from coe_core.compose import Context
from coe_core.contract import AlertRule, Check, EventSink, Job, Monitor, SegmentJob, Summarizer
from coe_core.hookspec import hookimpl
from coe_core.http import HttpRoute
from coe_core.service import (
    Caller,
    Clock,
    Database,
    Deployment,
    Journal,
    RecordReader,
    Service,
    SessionStore,
    StateStore,
)
from coe_records.settings import Settings

if TYPE_CHECKING:
    from coe_records.monitor import RecordsMonitor
    from coe_records.summaries import SummaryKeeper


@define(eq=False)
class RecordsPlugin:
    settings: Settings
    provides = (Journal, RecordReader, SessionStore, StateStore, Database)
    _monitor: RecordsMonitor | None = field(default=None, init=False)
    _keeper: SummaryKeeper | None = field(default=None, init=False)

    @hookimpl
    def coe_services(self, ctx: Context) -> Sequence[Service]:
        from coe_records.plugin_database import PluginDatabase
        from coe_records.records import Records

        settings = self.settings
        records = Records(ctx.data_dir, ctx.need(Clock), settings.segment_bytes, settings.database)
        contracts = (Journal, RecordReader, SessionStore)
        return [
            *self._shared_state(ctx),
            *(Service(contract=contract, provider=records) for contract in contracts),
            Service(contract=Database, provider=PluginDatabase(ctx.data_dir, settings.database)),
        ]

    def _shared_state(self, ctx: Context) -> list[Service]:
        """Keep the state where several machines see it; alone, the engine keeps it."""
        if self.settings.database is None:
            return []
        from coe_core.state import STATE_FILE
        from coe_records.postgres_state import PostgresStateStore

        store = PostgresStateStore(ctx.data_dir / STATE_FILE, self.settings.database)
        return [Service(contract=StateStore, provider=store)]

    @hookimpl
    def coe_monitors(self, ctx: Context) -> Sequence[Monitor]:
        return self._monitors(ctx)

    @hookimpl
    def coe_alert_rules(self, ctx: Context) -> Sequence[AlertRule]:
        from coe_records.monitor import rules
        from coe_records.reprocess import FailedBatchesRule

        of_monitor = [rule for monitor in self._monitors(ctx) for rule in rules(monitor)]
        return [*of_monitor, FailedBatchesRule(ctx.need(Deployment))]

    @hookimpl
    def coe_summarizers(self, ctx: Context) -> Sequence[Summarizer]:
        from coe_records.extract import ExtractiveSummarizer
        from coe_records.summarizer import ModelSummarizer

        if self.settings.summary_model is None:
            return [ExtractiveSummarizer()]
        asking = ModelSummarizer(self.settings.summary_model, ctx.need(Caller))
        return [ExtractiveSummarizer(), asking]

    @hookimpl
    def coe_event_sinks(self, ctx: Context) -> Sequence[EventSink]:
        return self._keepers(ctx)

    @hookimpl
    def coe_segment_jobs(self, ctx: Context) -> Sequence[SegmentJob]:
        return self._keepers(ctx) if self.settings.summarizer else []

    @hookimpl
    def coe_jobs(self, ctx: Context) -> Sequence[Job]:
        from coe_records.records import Records
        from coe_records.reprocess import RetryJob

        records = ctx.need(SessionStore)
        if not isinstance(records, Records):
            return []
        return [RetryJob(ctx.need(Deployment), records)]

    @hookimpl
    def coe_checks(self, ctx: Context) -> Sequence[Check]:
        from coe_records.check import RecordsCheck

        return [RecordsCheck(ctx.data_dir, self.settings.database)]

    @hookimpl
    def coe_cli_commands(self, ctx: Context) -> Sequence[click.Command]:
        @lazy_command
        def records() -> click.Command:
            """Look after the log of turns and its tables."""
            from coe_records.command import records_command

            return records_command(self.settings)

        @lazy_command
        def feedback() -> click.Command:
            """Say what a turn was worth."""
            from coe_records.feedback import command

            return command

        return [records, feedback]

    @hookimpl
    def coe_http_routes(self, ctx: Context) -> Sequence[HttpRoute]:
        from coe_records.feedback import ROUTE

        return [ROUTE]

    def _keepers(self, ctx: Context) -> list[SummaryKeeper]:
        """Make the one keeper of summaries, unless another plugin keeps the sessions."""
        from coe_records.records import Records
        from coe_records.summaries import SummaryKeeper

        records = ctx.need(SessionStore)
        if self._keeper is None and isinstance(records, Records):
            chosen, limit_tokens = self.settings.summarizer, self.settings.summary_tokens
            self._keeper = SummaryKeeper(ctx.need(Deployment), records, chosen, limit_tokens)
        return [self._keeper] if self._keeper is not None else []

    def _monitors(self, ctx: Context) -> list[RecordsMonitor]:
        """Make the one monitor, unless another plugin's journal is used."""
        from coe_records.monitor import RecordsMonitor
        from coe_records.records import Records

        records = ctx.need(Journal)
        if self._monitor is None and isinstance(records, Records):
            self._monitor = RecordsMonitor(
                records, ctx.need(Clock), ctx.need(StateStore), self.settings.spot_check_s
            )
        return [self._monitor] if self._monitor is not None else []
