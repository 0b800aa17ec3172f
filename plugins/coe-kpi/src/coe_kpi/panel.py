"""The console's panel: the four KPIs, what they are made of, and the sessions behind each."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from itertools import islice
from typing import Literal, TypeAlias, cast

from attrs import frozen

from coe_core.access import Principal
from coe_core.identity import TurnId
from coe_core.panel import Choice, Link, Note, PanelItem, Series, Stat, Table, Text
from coe_core.record import Interaction
from coe_core.service import Clock, RecordReader
from coe_kpi import word
from coe_kpi.book import Book
from coe_kpi.fact import RESULTS, Result
from coe_kpi.kpi import Kpis, RoutingSuccessRate, ToolCallRatio
from coe_kpi.look import EVERY, TOOLS, WINDOWS, Look, trend
from coe_kpi.report import NOTHING, kpis_by
from coe_kpi.store import Behind, RollupStore, Sought
from coe_kpi.view import OTHER, Label
from coe_kpi.window import Window, window

PAGE = 30
"""So many turns are listed at a time."""
NONE = "–"  # noqa: RUF001 a dash, as it is printed
MOST_LABELS = 12

Cells: TypeAlias = "tuple[Text | datetime | Link, ...]"


@frozen
class KpiPanel:
    """A `Panel`. It shows other groups' numbers to operators, and other groups' turns to nobody."""

    _book: Book
    _reader: RecordReader
    _clock: Clock
    name: str = "kpi"
    title: Mapping[str, str] = word.TITLE

    async def show(self, principal: Principal, query: Mapping[str, str]) -> Sequence[PanelItem]:
        look = Look.of(principal, query)
        whole = window(look.window, self._clock.now())
        if look.behind is not None:
            return await self._sessions(principal, look, whole)
        parts = [whole, _before(whole), *trend(whole)]
        (now, before, *line), rows = await self._book.ask(
            lambda store: (_totals(store, parts, look), _by(store, whole, look))
        )
        if look.figure is None:
            stats = [_stat(name, look, now, before, line) for name in word.FIGURES]
            return (
                [_windows(look), *stats, _table(look, rows)]
                if rows
                else [_windows(look), *stats, Note(text=word.NOTHING)]
            )
        figure, stat = look.figure, _stat(look.figure, look, now, before, [])
        points = zip(trend(whole), line, strict=True)
        values = tuple((part.start, _plotted(figure, kpis)) for part, kpis in points)
        unpriced = now.cost_per_success.unpriced_tokens
        unknown = {language: f"{text} {unpriced:,}" for language, text in word.UNPRICED.items()}
        return [
            _ways_back(look),
            _windows(look),
            stat,
            *([Note(text=unknown)] if unpriced and figure == "cost" else []),
            Series(label=word.FIGURES[figure], unit=word.UNITS[figure], points=values),
            _outcomes(look, now),
            _labels(principal, look),
            _table(look, rows) if rows else Note(text=word.NOTHING),
        ]

    async def _sessions(self, principal: Principal, look: Look, whole: Window) -> list[PanelItem]:
        items: list[PanelItem] = [_ways_back(look), _windows(look)]
        if look.group is None and principal.may("operator"):
            items.append(Note(text=word.OTHERS))
        elif look.group not in (None, principal.group):
            return [*items, Note(text=word.OTHERS)]
        found = await self._book.ask(lambda store: _behind(store, whole, look, principal.group))
        turns = await asyncio.gather(
            *(self._reader.interaction(principal.group, TurnId(each.id)) for each in found)
        )
        rows = tuple(_rows([(b, t) for b, t in zip(found, turns, strict=True) if t is not None]))
        if not rows:
            return [*items, Note(text=word.NO_TURN)]
        columns: tuple[Text, ...] = (
            *(word.SESSION, word.BEGAN, word.ASKED, word.ROUTED, word.RESULT),
            *(word.USED, word.COST),
        )
        items.append(Table(columns=columns, rows=rows, caption=word.SESSIONS))
        if len(found) == PAGE:
            last = found[-1]
            query = look.query(before=(last.minute, last.id))
            items.append(Choice(label=word.MORE, options=(Link(text=word.OLDER, query=query),)))
        return items


def _before(whole: Window) -> Window:
    return Window(2 * whole.since - whole.until, whole.since)


def _totals(store: RollupStore, parts: Sequence[Window], look: Look) -> list[Kpis]:
    return [found.get("", NOTHING) for found in kpis_by(store, parts, look.asked)]


def _by(store: RollupStore, whole: Window, look: Look) -> dict[str, Kpis]:
    (found,) = kpis_by(store, [whole], look.asked, cast("Label", look.by), MOST_LABELS)
    return found


def _behind(store: RollupStore, whole: Window, look: Look, group: str) -> list[Behind]:
    results = tuple(range(len(RESULTS)))
    if look.behind in RESULTS:
        results = (RESULTS.index(look.behind),)
    part = whole
    if look.before is not None:
        part = Window(whole.since, max(whole.since, min(whole.until, look.before[0] + 1)))
    sought = Sought(
        part=part, cut=look.cut(group), results=results, with_tools=look.behind == TOOLS
    )
    found = store.behind(sought)
    older = (b for b in found if look.before is None or (b.minute, b.id) < look.before)
    return [*islice(older, PAGE)]


def _windows(look: Look) -> Choice:
    options = tuple(
        Link(text=word.WINDOWS[name], query=look.query(window=name)) for name in WINDOWS
    )
    return Choice(label=word.WINDOW, options=options, chosen=WINDOWS.index(look.window))


def _labels(principal: Principal, look: Look) -> Choice:
    names = [name for name in word.LABELS if name != "group" or principal.may("operator")]
    options = tuple(Link(text=word.LABELS[name], query=look.query(by=name)) for name in names)
    return Choice(label=word.BY, options=options, chosen=names.index(look.by))


def _ways_back(look: Look) -> Choice:
    """Lead out of what is looked at: of the list, of the figure, and of each filter."""
    everything = look.query(figure=None, behind=None, group=None, route=None, model=None)
    options = [Link(text=word.BACK, query=everything)]
    if look.figure is not None:
        query = look.query(behind=None)
        options.append(Link(text=word.FIGURES[look.figure], query=query))
    return Choice(label=word.LOOK, options=tuple(options), chosen=None)


def _stat(name: str, look: Look, now: Kpis, before: Kpis, line: Sequence[Kpis]) -> Stat:
    shares: Mapping[str, RoutingSuccessRate | ToolCallRatio] = {
        "routing": now.routing_success_rate,
        "tools": now.tool_call_ratio,
    }
    low, high = (shares[name].low, shares[name].high) if name in shares else (None, None)
    return Stat(
        label=word.FIGURES[name],
        value=_shown(name, now),
        low=None if low is None else percent(low),
        high=None if high is None else percent(high),
        before=_shown(name, before),
        change=_change(now, before) if name == "routing" else None,
        trend=tuple(_plotted(name, kpis) for kpis in line),
        query=look.query(figure=name),
    )


def _change(now: Kpis, before: Kpis) -> Literal["better", "worse"] | None:
    """Say so only where chance alone would hardly do it."""
    low, high = now.routing_success_rate.low, now.routing_success_rate.high
    was = before.routing_success_rate.value
    if low is None or high is None or was is None or low <= was <= high:
        return None
    return "better" if was < low else "worse"


def _shown(name: str, kpis: Kpis) -> str:
    match name:
        case "routing":
            return percent(kpis.routing_success_rate.value)
        case "tools":
            return percent(kpis.tool_call_ratio.value)
        case "tokens":
            return f"{kpis.token_usage.total:,}"
        case _:
            return dollars(kpis.cost_per_success.value_usd)


def _plotted(name: str, kpis: Kpis) -> float | None:
    share = {"routing": kpis.routing_success_rate.value, "tools": kpis.tool_call_ratio.value}
    if name in share:
        found = share[name]
        return None if found is None else round(found * 100, 2)
    if name == "tokens":
        return float(kpis.token_usage.total)
    cost = kpis.cost_per_success.value_usd
    return None if cost is None else float(cost)


def _outcomes(look: Look, kpis: Kpis) -> Table:
    """List how turns ended, each count leading to the sessions behind it."""
    routing, tools = kpis.routing_success_rate, kpis.tool_call_ratio
    counts: list[tuple[str, Text, int]] = [
        ("success", word.RESULTS["success"], routing.successes),
        *((name, word.RESULTS[cast("Result", name)], n) for name, n in routing.failures.items()),
        ("unresolved", word.RESULTS["unresolved"], routing.unresolved),
        (TOOLS, word.WITH_TOOLS, tools.with_tools),
        (EVERY, word.ALL, tools.turns + routing.unresolved),
    ]
    rows = tuple(
        (text, Link(text=f"{count:,}", query=look.query(behind=name)) if count else "0")
        for name, text, count in counts
        if count or name in ("success", EVERY)
    )
    return Table(columns=(word.RESULT, word.COUNT), rows=rows, caption=word.OUTCOMES)


def _table(look: Look, found: Mapping[str, Kpis]) -> Table:
    """Show the KPIs of each value of a label; its name leads to its sessions."""
    rows = tuple((_label(look, label, kpis), *_cells(kpis)) for label, kpis in found.items())
    return Table(columns=(word.LABELS[look.by], *word.COLUMNS), rows=rows)


def _label(look: Look, label: str, kpis: Kpis) -> Text | Link:
    ended = kpis.tool_call_ratio.turns + kpis.routing_success_rate.unresolved
    if look.by == "purpose" or label in ("", OTHER) or not ended:
        return label or NONE
    return Link(text=label, query=look.query(**{look.by: label, "behind": EVERY}))


def _cells(kpis: Kpis) -> tuple[str, ...]:
    routing, tools, cost = kpis.routing_success_rate, kpis.tool_call_ratio, kpis.cost_per_success
    return (
        f"{tools.turns:,}",
        percent(routing.value),
        percent(tools.value),
        f"{kpis.token_usage.total:,}",
        dollars(cost.cost_usd),
        dollars(cost.value_usd),
    )


def _rows(
    turns: Sequence[tuple[Behind, Interaction]],
) -> list[Cells]:
    """Put the turns of a session together, where its newest is."""
    sessions: dict[str, list[tuple[Behind, Interaction]]] = {}
    for each in turns:
        sessions.setdefault(each[1].session, []).append(each)
    return [
        (session if number == 0 else "", *_turn(found, turn))
        for session, some in sessions.items()
        for number, (found, turn) in enumerate(some)
    ]


def _turn(found: Behind, turn: Interaction) -> Cells:
    costs = [a.cost_usd for a in turn.attempts if a.cost_usd is not None]
    return (
        Link(text=turn.started_at, turn=turn.id),
        turn.requested_model,
        turn.route.target if turn.route else NONE,
        word.RESULTS[found.result],
        f"{sum(a.usage.total_tokens for a in turn.attempts):,}",
        dollars(sum(costs, Decimal(0))) if costs else NONE,
    )


def percent(share: float | None) -> str:
    """Write a share."""
    return NONE if share is None else f"{share:.1%}"


def dollars(amount: Decimal | None) -> str:
    """Write an amount to three digits that say something, and to the cent at least."""
    if amount is None:
        return NONE
    digits = 2 if amount == 0 else max(2, 2 - amount.adjusted())
    return f"${amount:,.{digits}f}"
