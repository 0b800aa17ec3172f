"""`coe kpi`: the KPIs in the terminal, in Korean where the terminal is."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from zoneinfo import ZoneInfo

import click

from coe_core.application import Application
from coe_core.cli import Frame, echo_json, table
from coe_core.error import MissingService
from coe_core.service import Clock
from coe_kpi.book import Book
from coe_kpi.grafana import dashboard
from coe_kpi.kpi import Kpis
from coe_kpi.report import BY, Query, Report, report

HEADINGS: Mapping[str, tuple[str, ...]] = {
    "en": ("", "TURNS", "TOKENS", "TOOL CALLS", "ROUTING SUCCESS", "COST", "COST PER SUCCESS"),
    "ko": ("", "턴", "토큰", "도구 호출률", "라우팅 성공률", "비용", "성공당 비용"),
}
ALL = {"en": "all", "ko": "전체"}
NOTHING = "-"


def kpi_command(zone: ZoneInfo) -> click.Group:
    """Make the command, and its only subcommand."""

    @click.group("kpi", invoke_without_command=True, commands=[dashboard_command])
    @click.option("--window", default="24h", show_default=True, help="5m to 30d, up to now.")
    @click.option("--group", help="Of one group alone.")
    @click.option("--route", help="Of one route alone.")
    @click.option("--model", help="Of one model alone.")
    @click.option("--by", type=click.Choice(BY), help="A row for each of these.")
    @click.option("--json", "as_json", is_flag=True, help="Print JSON.")
    @click.pass_context
    def command(context: click.Context, /, *, as_json: bool, **asked: str | None) -> None:
        """Show token usage, tool calls, routing success and cost per success of a window."""
        if context.invoked_subcommand is not None:
            return
        frame: Frame = context.obj
        given = {name: value for name, value in asked.items() if value is not None}
        found = asyncio.run(_report(frame, Query(**given), zone))
        if as_json:
            echo_json(found)
        else:
            click.echo(_table(found))

    return command


@click.command("dashboard")
def dashboard_command() -> None:
    """Print a dashboard for Grafana, as JSON, with the four KPIs and what they are made of."""
    echo_json(dashboard())


async def _report(frame: Frame, query: Query, zone: ZoneInfo) -> Report:
    async with frame.host() as host:
        now = host.application.need(Clock).now()
        book = book_of(host.application)
        await book.catch_up()
        return await book.ask(lambda store: report(store, query, now, zone))


def book_of(application: Application) -> Book:
    """Return the book of a deployment. Raises `MissingService` when it did not open."""
    for monitor in application.monitors:
        if isinstance(monitor, Book):
            return monitor
    raise MissingService("the plugin kpi does not work: `coe plugins` says why")


def _table(found: Report) -> str:
    language = _language()
    rows = [(row.label or NOTHING, row.kpis) for row in found.rows]
    return table(
        HEADINGS[language],
        [cells(label, kpis) for label, kpis in [*rows, (ALL[language], found.total)]],
    )


def _language() -> str:
    locales = (os.environ.get(name) for name in ("LC_ALL", "LC_MESSAGES", "LANG"))
    return "ko" if next(filter(None, locales), "").startswith("ko") else "en"


def cells(label: str, kpis: Kpis) -> tuple[str, ...]:
    """Write a row of the table."""
    routing, tools, cost = kpis.routing_success_rate, kpis.tool_call_ratio, kpis.cost_per_success
    unpriced = f" (+{cost.unpriced_tokens} ?)" if cost.unpriced_tokens else ""
    return (
        label,
        str(tools.turns),
        str(kpis.token_usage.total),
        _percent(tools.value),
        _percent(routing.value) + _interval(routing.low, routing.high),
        f"${cost.cost_usd:.4f}{unpriced}",
        NOTHING if cost.value_usd is None else f"${cost.value_usd:.6f}",
    )


def _percent(share: float | None) -> str:
    return NOTHING if share is None else f"{share:.1%}"


def _interval(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f" ({low:.1%}..{high:.1%})"
