"""A report: the KPIs of a window, as a whole or by something, for the API and the command alike."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Literal, TypeAlias, get_args
from zoneinfo import ZoneInfo

from attrs import evolve, frozen

from coe_core.error import InvalidField
from coe_core.settings import nearest
from coe_kpi.kpi import Kpis, cost_per_success, routing_success_rate, token_usage, tool_call_ratio
from coe_kpi.question import Table
from coe_kpi.store import CallsBy, RollupStore, TurnsBy
from coe_kpi.sums import CallSums
from coe_kpi.view import OTHER, Cut, Label
from coe_kpi.window import Bucket, Window, calendar, time_of, window

By: TypeAlias = Literal["group", "route", "model", "purpose"] | Bucket
BY: tuple[str, ...] = tuple(name for each in get_args(By) for name in (get_args(each) or [each]))

MOST_LABELS = 50
"""So many values of a label are shown apart, those with the most; the rest together."""


@frozen(kw_only=True)
class Query:
    """What is asked for."""

    window: str = "24h"
    """`5m` to `30d`, up to now."""
    group: str | None = None
    """Of one group alone."""
    route: str | None = None
    """Of one route: the name that a router gave it, or else the router's."""
    model: str | None = None
    """Of one model: the one routed to, and for tokens the one called."""
    by: str | None = None
    """`group`, `route`, `model`, `purpose`, `hour`, `day`, `week` or `month`."""


@frozen(kw_only=True)
class Row:
    """The KPIs of one label, or of one stretch of the calendar."""

    label: str
    since: datetime
    until: datetime
    kpis: Kpis


@frozen(kw_only=True)
class Report:
    """The KPIs of a window."""

    since: datetime
    until: datetime
    zone: str
    """Whose hours and days those of `by` are."""
    newest: datetime | None
    """The minute of the newest turn that is counted."""
    total: Kpis
    rows: tuple[Row, ...] = ()


def report(store: RollupStore, query: Query, now: datetime, zone: ZoneInfo) -> Report:
    """Make a report. Raises `InvalidField`."""
    whole = window(query.window, now)
    if query.by is not None and query.by not in BY:
        known = ", ".join(BY)
        hint = nearest(query.by, BY)
        raise InvalidField(f"{query.by!r:.40} is none of {known}{hint}", param="by")
    newest, (kpis,) = store.newest, kpis_by(store, [whole], query)
    return Report(
        since=whole.start,
        until=whole.end,
        zone=zone.key,
        newest=time_of(newest) if newest else None,
        total=kpis.get("", NOTHING),
        rows=tuple(_rows(store, query, whole, zone)),
    )


def _rows(store: RollupStore, query: Query, whole: Window, zone: ZoneInfo) -> Iterable[Row]:
    match query.by:
        case "hour" | "day" | "week" | "month" as bucket:
            parts = [*calendar(whole, bucket, zone)]
            for part, kpis in zip(parts, kpis_by(store, parts, query), strict=True):
                label = part.start.astimezone(zone).isoformat(timespec="minutes")
                of_all = kpis.get("", NOTHING)
                yield Row(label=label, since=part.start, until=part.end, kpis=of_all)
        case "group" | "route" | "model" | "purpose" as by:
            (found,) = kpis_by(store, [whole], query, by)
            for label, of_label in found.items():
                yield Row(label=label, since=whole.start, until=whole.end, kpis=of_label)


def kpis_by(
    store: RollupStore,
    parts: Sequence[Window],
    query: Query,
    by: Label | None = None,
    most: int = MOST_LABELS,
) -> list[dict[str, Kpis]]:
    """Make the KPIs of each value of a label, the largest first, in each part; the label of all is
    "". Nothing is there where nothing was.
    """
    where: dict[str, str] = {}
    if query.group is not None:
        where["group"] = query.group
    if query.route is not None:
        where["route"] = query.route
    of_target, of_model = Cut(where, "target" if by == "model" else by), Cut(where, by)
    if query.model is not None:
        of_target = evolve(of_target, where={**where, "target": query.model})
        of_model = evolve(of_model, where={**where, "model": query.model})
    # A turn is for no one purpose.
    cuts: dict[Table, Cut] = {"calls": of_model}
    if by != "purpose":
        cuts["turns"] = of_target
    shown = store.largest(parts, cuts, most) if by else [""]
    turns: list[TurnsBy] = [{} for _ in parts]
    if "turns" in cuts:
        turns = store.turns(parts, of_target, shown)
    calls = store.calls(parts, of_model, shown)
    spent = calls if of_target == of_model else store.calls(parts, of_target, shown)
    return [_joined(shown, *of_part) for of_part in zip(turns, calls, spent, strict=True)]


def _joined(
    shown: Sequence[str], turns: TurnsBy, called: CallsBy, spent: CallsBy
) -> dict[str, Kpis]:
    called_of, jobs_of, spent_of = _of(called), _of(called, "job"), _of(spent, "turn")
    there = turns.keys() | called_of.keys() | spent_of.keys()
    found = {}
    for label in dict.fromkeys((*shown, OTHER)):
        if label not in there:
            continue
        results, paid = turns.get(label, {}), spent_of.get(label, NO_CALLS)
        found[label] = Kpis(
            token_usage=token_usage(called_of.get(label, NO_CALLS)),
            tool_call_ratio=tool_call_ratio(results),
            routing_success_rate=routing_success_rate(results),
            cost_per_success=cost_per_success(results, paid, jobs_of.get(label, NO_CALLS)),
        )
    return found


def _of(calls: CallsBy, owner: str | None = None) -> dict[str, CallSums]:
    """Put together what is of one owner, or of all."""
    found: dict[str, CallSums] = {}
    for (label, owned_by), sums in calls.items():
        if owner in (None, owned_by):
            found[label] = found[label] + sums if label in found else sums
    return found


NO_CALLS = CallSums()
NOTHING = _joined([""], {"": {}}, {}, {})[""]
"""The KPIs of a time in which nothing was."""
