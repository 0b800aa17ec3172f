"""Gauges: the KPIs as samples, for `/metrics` and for the alert rules alike.

They are of windows and not counters that only grow: late feedback revises a turn's own window, and
a success that is taken back would make a counter fall.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from attrs import frozen

from coe_core.contract import Sample
from coe_kpi.fact import minute_of
from coe_kpi.kpi import Kpis
from coe_kpi.report import Query, kpis_by
from coe_kpi.store import RollupStore
from coe_kpi.view import Label
from coe_kpi.window import Window, window

WINDOWS = ("5m", "30m", "1h", "6h", "24h", "3d")
LABELLED_WINDOWS = ("1h", "24h")
LABELS: tuple[Label, ...] = ("model", "group")
MOST_VALUES = 20
"""So many models and groups have series of their own; the others are together."""
NO_TARGET = "none"
"""The model of turns that led nowhere."""


@frozen
class Gauges:
    """Makes the samples. `budgets` is group to US dollars a month."""

    budgets: Mapping[str, Decimal]

    def measure(self, store: RollupStore, now: datetime) -> list[Sample]:
        """Measure every window up to now."""
        return [
            Sample(metric=f"coe_kpi_{metric}", value=float(value), at=now, labels=labels)
            for metric, value, labels in self._series(store, now)
            if value is not None
        ]

    def _series(self, store: RollupStore, now: datetime) -> Iterator[Series]:
        for length in WINDOWS:
            (kpis,) = kpis_by(store, [window(length, now)], Query())
            for metric, value, labels in _of_all(kpis.get("")):
                yield metric, value, {"window": length, **labels}
        for length in LABELLED_WINDOWS:
            for label in LABELS:
                part = [window(length, now)]
                (of_each,) = kpis_by(store, part, Query(), label, MOST_VALUES)
                for value_of, kpis_of in of_each.items():
                    for metric, value in _of_one(kpis_of):
                        labels = {"window": length, label: value_of or NO_TARGET}
                        yield f"{label}_{metric}", value, labels
        yield from self._budgets(store, now)

    def _budgets(self, store: RollupStore, now: datetime) -> Iterator[Series]:
        """Say how much of a budget is spent, and how much will be if it goes on like this."""
        start = now.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        end = (start + timedelta(days=32)).replace(day=1)
        month = Window(minute_of(start), minute_of(now) + 1)
        left = (end - now) / timedelta(days=1)
        for group, budget in self.budgets.items():
            if not budget:
                continue
            spent = _spent(store, group, month)
            lately = _spent(store, group, window("24h", now))
            yield "budget_used_ratio", spent / budget, {"group": group}
            forecast = spent + lately * Decimal(left)
            yield "budget_forecast_ratio", forecast / budget, {"group": group}


Series = tuple[str, "float | Decimal | None", dict[str, str]]


def _spent(store: RollupStore, group: str, part: Window) -> Decimal:
    (found,) = kpis_by(store, [part], Query(group=group))
    kpis = found.get("")
    if kpis is None:
        return Decimal(0)
    return kpis.cost_per_success.cost_usd + kpis.cost_per_success.job_cost_usd


def _of_all(kpis: Kpis | None) -> Iterator[Series]:
    if kpis is None:
        return
    tokens, tools = kpis.token_usage, kpis.tool_call_ratio
    routing, cost = kpis.routing_success_rate, kpis.cost_per_success
    yield "tokens", tokens.input, {"direction": "input"}
    yield "tokens", tokens.output, {"direction": "output"}
    yield "cached_input_tokens", tokens.cached_input, {}
    yield "estimated_tokens", tokens.estimated, {}
    yield "unpriced_tokens", cost.unpriced_tokens, {}
    yield "cost_usd", cost.cost_usd, {}
    yield "job_cost_usd", cost.job_cost_usd, {}
    yield "cost_per_success_usd", cost.value_usd, {}
    yield "tool_call_ratio", tools.value, {}
    yield "tool_calls", tools.calls, {}
    yield "tool_failure_ratio", None if tools.success is None else 1 - tools.success, {}
    yield "routing_success_rate", routing.value, {}
    yield "routing_success_rate_low", routing.low, {}
    yield "routing_success_rate_high", routing.high, {}
    yield "routing_failure_ratio", None if routing.value is None else 1 - routing.value, {}
    yield "routing_decisions", routing.decisions, {}
    yield "routing_unresolved", routing.unresolved, {}
    for failure, count in routing.failures.items():
        yield "routing_failures", count, {"failure": failure}


def _of_one(kpis: Kpis) -> Iterator[tuple[str, float | Decimal | None]]:
    yield "tokens", kpis.token_usage.total
    yield "cost_usd", kpis.cost_per_success.cost_usd
    yield "turns", kpis.tool_call_ratio.turns
    yield "routing_success_rate", kpis.routing_success_rate.value
