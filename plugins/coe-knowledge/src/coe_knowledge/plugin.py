"""The plugin `knowledge`."""

from __future__ import annotations

from collections.abc import Sequence

import click
from attrs import frozen

from coe_core.cli import lazy_command
from coe_core.compose import Context
from coe_core.contract import Job
from coe_core.hookspec import hookimpl
from coe_core.http import HttpRoute
from coe_core.service import Clock, Database, Journal, KnowledgeStore, RecordReader, Service
from coe_knowledge.settings import Settings


@frozen
class KnowledgePlugin:
    settings: Settings
    provides = (KnowledgeStore,)

    @hookimpl
    def coe_services(self, ctx: Context) -> Sequence[Service]:
        from coe_knowledge.store import SqlKnowledgeStore

        return [Service(contract=KnowledgeStore, provider=SqlKnowledgeStore(ctx.need(Database)))]

    @hookimpl
    def coe_jobs(self, ctx: Context) -> Sequence[Job]:
        from coe_knowledge.tally import CardTally

        return [CardTally(ctx.need(Database), ctx.need(RecordReader))]

    @hookimpl
    def coe_http_routes(self, ctx: Context) -> Sequence[HttpRoute]:
        from coe_knowledge.library import Library
        from coe_knowledge.route import routes

        store, journal, clock = ctx.need(KnowledgeStore), ctx.need(Journal), ctx.need(Clock)
        return routes(Library(store, journal, clock, self.settings))

    @hookimpl
    def coe_cli_commands(self, ctx: Context) -> Sequence[click.Command]:
        @lazy_command
        def knowledge() -> click.Command:
            """Add documents and cards that answers use; list, show, find and remove them."""
            from coe_knowledge.command import knowledge_command

            return knowledge_command(self.settings)

        return [knowledge]
