"""The dashboard for Grafana: `coe kpi dashboard`.

Every worker exports the same KPIs, and each its own process's figures: so a query takes the highest
of a KPI, and of a process's figures the sum or the worst, of those workers that were scraped.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Literal, TypeAlias

from attrs import frozen

from coe_core.message import Json
from coe_kpi.gauge import WINDOWS

UID = "coe-kpis"
SCHEMA_VERSION = 41
"""Of Grafana 11.6; newer ones read it, and bring it up to theirs."""
COLUMNS = 24
SOURCE: Mapping[str, Json] = {"type": "prometheus", "uid": "${datasource}"}

Steps: TypeAlias = tuple[tuple[str, float | None], ...]
"""Colours, each with the value from which on it is meant; the first from the least."""

PLAIN: Steps = (("text", None),)
OBJECTIVE: Steps = (("red", None), ("green", 0.95))
BUDGET: Steps = (("green", None), ("orange", 0.8), ("red", 0.9))
FAULT: Steps = (("green", None), ("red", 0.2))


@frozen(kw_only=True)
class Plot:
    """A panel: what it asks Prometheus, and how that is drawn."""

    title: str
    about: str
    asked: Mapping[str, str]
    """Legend to query; `{{label}}` in a legend is the series' value of it."""
    unit: str = "short"
    kind: Literal["stat", "timeseries", "bargauge"] = "timeseries"
    width: int = 12
    height: int = 8
    least: float | None = 0
    most: float | None = None
    steps: Steps = PLAIN
    is_stacked: bool = False


def kpi(metric: str, *labels: str, by: str = "", window: str = "$window") -> str:
    """Ask for a KPI of a window."""
    matchers = ",".join((f'window="{window}"', *labels))
    return f"max{f' by ({by})' if by else ''} (coe_kpi_{metric}{{{matchers}}})"


def _stat(title: str, about: str, query: str, unit: str, steps: Steps = PLAIN) -> Plot:
    return Plot(
        title=title,
        about=about,
        asked={title: query},
        unit=unit,
        kind="stat",
        width=6,
        height=5,
        steps=steps,
    )


ROWS: Mapping[str, tuple[Plot, ...]] = {
    "KPIs of the last $window": (
        _stat(
            "Routing success",
            "Decisions whose turn succeeded on its routed target, of those that were decided.",
            kpi("routing_success_rate"),
            "percentunit",
            OBJECTIVE,
        ),
        _stat(
            "Cost per success",
            "What all turns cost, over those that succeeded.",
            kpi("cost_per_success_usd"),
            "currencyUSD",
        ),
        _stat(
            "Token usage",
            "All billable tokens of all attempts.",
            f"sum ({kpi('tokens', by='direction')})",
            "short",
        ),
        _stat(
            "Tool call ratio",
            "Turns with a tool call that CoE executed, of those that have ended.",
            kpi("tool_call_ratio"),
            "percentunit",
        ),
    ),
    "Routing": (
        Plot(
            title="Routing success and its 95 % interval",
            about="Wilson's interval: of few decisions little is known.",
            asked={
                "success": kpi("routing_success_rate"),
                "at least": kpi("routing_success_rate_low"),
                "at most": kpi("routing_success_rate_high"),
            },
            unit="percentunit",
            least=None,
            most=1,
        ),
        Plot(
            title="Decisions that failed, by how",
            about="Of the last $window. The playbook `routing-failures` says what to do.",
            asked={"{{failure}}": kpi("routing_failures", by="failure")},
            is_stacked=True,
        ),
        Plot(
            title="Routing success by model",
            about="Of the last 24 hours, the models with the most turns.",
            asked={"{{model}}": kpi("model_routing_success_rate", by="model", window="24h")},
            unit="percentunit",
            most=1,
        ),
        Plot(
            title="Turns by group",
            about="Of the last 24 hours, the groups with the most turns.",
            asked={"{{group}}": kpi("group_turns", by="group", window="24h")},
            is_stacked=True,
        ),
    ),
    "Cost": (
        Plot(
            title="Cost",
            about="Of turns, and of jobs, which no turn pays for.",
            asked={"turns": kpi("cost_usd"), "jobs": kpi("job_cost_usd")},
            unit="currencyUSD",
            is_stacked=True,
        ),
        Plot(
            title="Budgets: spent, and forecast",
            about="Shares of a group's month. The playbook `budget` says what to do.",
            asked={
                "{{group}}": "max by (group) (coe_kpi_budget_used_ratio)",
                "{{group}}, forecast": "max by (group) (coe_kpi_budget_forecast_ratio)",
            },
            unit="percentunit",
            kind="bargauge",
            most=1.2,
            steps=BUDGET,
        ),
        Plot(
            title="Cost by model",
            about="Of the last 24 hours.",
            asked={"{{model}}": kpi("model_cost_usd", by="model", window="24h")},
            unit="currencyUSD",
            is_stacked=True,
        ),
        Plot(
            title="Cost by group",
            about="Of the last 24 hours.",
            asked={"{{group}}": kpi("group_cost_usd", by="group", window="24h")},
            unit="currencyUSD",
            is_stacked=True,
        ),
    ),
    "Tokens and tools": (
        Plot(
            title="Tokens",
            about="Input and output; among them what was cached, what we estimated, and what has no"
            " price.",
            asked={
                "{{direction}}": kpi("tokens", by="direction"),
                "cached input": kpi("cached_input_tokens"),
                "estimated": kpi("estimated_tokens"),
                "without a price": kpi("unpriced_tokens"),
            },
        ),
        Plot(
            title="Tool calls that failed",
            about="The share of the calls that CoE executed. The playbook is `tool-failures`.",
            asked={"failed": kpi("tool_failure_ratio")},
            unit="percentunit",
            most=1,
        ),
    ),
    "Health": (
        Plot(
            title="Models that are left alone",
            about="1: the breaker is open; 0.5: one call at a time tries. See `breaker-open`.",
            asked={"{{target}}": "max by (target) (coe_fallback_breaker_open)"},
            most=1,
            steps=FAULT,
        ),
        Plot(
            title="Turns",
            about="Running, waiting to be let in, and how many may run at once.",
            asked={
                "running": "sum (coe_server_turns_running)",
                "waiting": "sum (coe_server_turns_waiting)",
                "limit": "sum (coe_server_turns_limit)",
            },
        ),
        Plot(
            title="Turns refused",
            about="A second, because too many waited.",
            asked={"refused": "sum (rate(coe_server_turns_refused_total[$__rate_interval]))"},
            unit="reqps",
        ),
        Plot(
            title="Until a record is on the disk",
            about="What turns wait for, at the median and at the 99th percentile.",
            asked={
                "p{{quantile}}": "max by (quantile) (coe_journal_commit_seconds)",
            },
            unit="s",
        ),
        Plot(
            title="The database behind the log",
            about="For how long it has not had what the log has. The playbook is `sync-lag`.",
            asked={"behind": "max (coe_records_sync_lag_seconds)"},
            unit="s",
        ),
        Plot(
            title="Faults of the record",
            about="The playbooks are `torn-log`, `full-disk`, `lost-database`, `failed-batches`.",
            asked={
                "missing": "max (coe_records_missing)",
                "bad pointers": "max (coe_records_bad_pointers)",
                "refusing": "max (coe_journal_refusing)",
                "unreadable": "max (coe_records_unreadable)",
                "failed batches": "max (coe_records_failed_batches)",
            },
        ),
    ),
}


def dashboard() -> Json:
    """Make the dashboard, as Grafana imports it."""
    windows = [{"text": name, "value": name, "selected": name == "24h"} for name in WINDOWS]
    return {
        "uid": UID,
        "title": "CoE",
        "description": "The four KPIs, what they are made of, and how the service is.",
        "tags": ["coe"],
        "timezone": "browser",
        "editable": True,
        "graphTooltip": 1,
        "schemaVersion": SCHEMA_VERSION,
        "time": {"from": "now-7d", "to": "now"},
        "refresh": "1m",
        "templating": {
            "list": [
                {
                    "type": "datasource",
                    "name": "datasource",
                    "label": "Prometheus",
                    "query": "prometheus",
                },
                {
                    "type": "custom",
                    "name": "window",
                    "label": "Window",
                    "query": ",".join(WINDOWS),
                    "options": windows,
                    "current": {"text": "24h", "value": "24h", "selected": True},
                },
            ]
        },
        "annotations": {"list": []},
        "panels": [*_panels(ROWS)],
    }


def _panels(rows: Mapping[str, Iterable[Plot]]) -> Iterator[Json]:
    number, top = 0, 0
    for title, plots in rows.items():
        number += 1
        place = {"x": 0, "y": top, "w": COLUMNS, "h": 1}
        yield {
            "type": "row",
            "id": number,
            "title": title,
            "collapsed": False,
            "gridPos": place,
            "panels": [],
        }
        left, top = 0, top + 1
        height = 0
        for plot in plots:
            if left + plot.width > COLUMNS:
                left, top = 0, top + height
            number, height = number + 1, plot.height
            place = {"x": left, "y": top, "w": plot.width, "h": plot.height}
            yield {"id": number, "gridPos": place, **_panel(plot)}
            left += plot.width
        top += height


def _panel(plot: Plot) -> dict[str, Json]:
    bounds = {"min": plot.least, "max": plot.most}
    defaults: dict[str, Json] = {
        "unit": plot.unit,
        **{name: bound for name, bound in bounds.items() if bound is not None},
        "color": {"mode": "palette-classic" if plot.kind == "timeseries" else "thresholds"},
        "thresholds": {
            "mode": "absolute",
            "steps": [{"color": color, "value": value} for color, value in plot.steps],
        },
    }
    if plot.kind == "timeseries":
        stacking = {"mode": "normal" if plot.is_stacked else "none", "group": "A"}
        fill = 30 if plot.is_stacked else 0
        defaults["custom"] = {"lineWidth": 2, "fillOpacity": fill, "stacking": stacking}
    return {
        "type": plot.kind,
        "title": plot.title,
        "description": plot.about,
        "datasource": SOURCE,
        "targets": [
            {"refId": chr(ord("A") + place), "datasource": SOURCE, "expr": query}
            | {"legendFormat": legend}
            for place, (legend, query) in enumerate(plot.asked.items())
        ],
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": _options(plot),
    }


def _options(plot: Plot) -> Json:
    reduced = {"calcs": ["lastNotNull"], "fields": "", "values": False}
    match plot.kind:
        case "stat":
            return {"reduceOptions": reduced, "graphMode": "area", "colorMode": "value"}
        case "bargauge":
            return {
                "reduceOptions": reduced,
                "orientation": "horizontal",
                "displayMode": "basic",
            }
        case "timeseries":
            legend = {"showLegend": True, "displayMode": "list", "placement": "bottom"}
            return {
                "legend": {**legend, "calcs": []},
                "tooltip": {"mode": "multi", "sort": "desc"},
            }
