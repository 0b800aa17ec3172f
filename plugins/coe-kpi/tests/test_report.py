"""Every surface shows what a plain count over the raw records gives."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from attrs import evolve
from coe_kpi.book import Book
from coe_kpi.command import cells
from coe_kpi.exposition import written
from coe_kpi.fact import PICO
from coe_kpi.gauge import MOST_VALUES
from coe_kpi.kpi import Kpis
from coe_kpi.panel import KpiPanel, dollars, percent
from coe_kpi.report import BY, Query, Report, report
from hypothesis import given, settings
from hypothesis import strategies as st

from coe_core.access import GroupName, Principal
from coe_core.error import InvalidField
from coe_core.identity import TurnId, uuid7
from coe_core.panel import Stat
from coe_core.testing.clock import EPOCH, ManualClock
from coe_core.turn import Route

from .counting import Count, count
from .traffic import GROUPS, MODELS, Paged, Traffic

OpenBook = Callable[..., Any]
SEOUL = ZoneInfo("Asia/Seoul")
ZONES = ("Asia/Seoul", "UTC", "America/St_Johns", "Australia/Lord_Howe", "Europe/Berlin")
WINDOWS = ("5m", "10m", "1h", "7h", "24h", "30d")


def shown(kpis: Kpis) -> Count:
    """Say in the plain count's words what is shown."""
    tokens, tools = kpis.token_usage, kpis.tool_call_ratio
    routing, cost = kpis.routing_success_rate, kpis.cost_per_success
    assert routing.decisions == routing.successes + sum(routing.failures.values())
    assert cost.successes == routing.successes
    return Count(
        tokens=tokens.total,
        estimated=tokens.estimated,
        turns=tools.turns,
        with_tools=tools.with_tools,
        tool_calls=tools.calls,
        successes=routing.successes,
        failures=dict(routing.failures),
        unresolved=routing.unresolved,
        excluded=routing.excluded,
        cost_usd=cost.cost_usd,
        job_cost_usd=cost.job_cost_usd,
        unpriced=cost.unpriced_tokens,
    )


async def ask(book: Book, zone: str = "UTC", now: datetime = EPOCH, **asked: str) -> Report:
    await book.catch_up()
    return await book.ask(lambda store: report(store, Query(**asked), now, ZoneInfo(zone)))


@settings(deadline=None, max_examples=30)
@given(
    seed=st.integers(0, 2**32),
    turns=st.integers(0, 60),
    page=st.integers(1, 70),
    zone=st.sampled_from(ZONES),
    length=st.sampled_from(WINDOWS),
    seconds=st.integers(0, 59),
)
def test_the_same_number_everywhere(
    open_book: OpenBook, seed: int, turns: int, page: int, zone: str, length: str, seconds: int
) -> None:
    async def compare() -> None:
        now = EPOCH.replace(second=seconds)
        traffic = Traffic(Random(seed), now)
        reader = Paged(page)
        reader.log = traffic.records(turns)
        async with open_book(reader, ManualClock(now)) as book:
            whole = await ask(book, zone, now, window=length)
            since, until = whole.since, whole.until
            assert shown(whole.total) == count(reader.log, since, until)
            by_group = await ask(book, zone, now, window=length, by="group")
            for row in by_group.rows:
                assert shown(row.kpis) == count(reader.log, since, until, group=row.label)
            for group in GROUPS:
                some = await ask(book, zone, now, window=length, group=group, by="model")
                assert shown(some.total) == count(reader.log, since, until, group=group)
            for model in MODELS:
                some = await ask(book, zone, now, window=length, model=model)
                assert shown(some.total) == count(reader.log, since, until, model=model)
            by_day = await ask(book, zone, now, window=length, by="day")
            assert by_day.rows[0].since == since
            assert by_day.rows[-1].until == until
            for row in by_day.rows:
                assert shown(row.kpis) == count(reader.log, row.since, row.until)
                if row.since != since:
                    assert row.since.astimezone(ZoneInfo(zone)).strftime("%H:%M") == "00:00"
            await other_surfaces_agree(book, reader, now)

    asyncio.run(compare())


async def other_surfaces_agree(book: Book, reader: Paged, now: datetime) -> None:
    """The command's table, what Prometheus scrapes, and the console's panel, all in their words."""
    whole = await ask(book, now=now, window="24h")
    plain = count(reader.log, whole.since, whole.until)
    decided = plain.successes + sum(plain.failures.values())
    routing = plain.successes / decided if decided else None
    tools = plain.with_tools / plain.turns if plain.turns else None
    cost = plain.cost_usd / plain.successes if plain.successes else None

    _, turns, tokens, called, routed, _, each = cells("all", whole.total)
    assert (turns, tokens) == (str(plain.turns), str(plain.tokens))
    assert called == ("-" if tools is None else f"{tools:.1%}")
    assert routed.split(" ")[0] == ("-" if routing is None else f"{routing:.1%}")
    assert each == ("-" if cost is None else f"${cost:.6f}")

    scraped = dict(line.rsplit(" ", 1) for line in written(await book.measure()).splitlines())
    of_day = {
        name.removeprefix("coe_kpi_").replace('{window="24h"}', ""): float(value)
        for name, value in scraped.items()
        if name.endswith('{window="24h"}')
    }
    assert of_day.get("routing_success_rate") == routing
    assert of_day.get("tool_call_ratio") == tools
    assert of_day.get("cost_per_success_usd") == (
        None if cost is None else pytest.approx(float(cost))
    )
    ways = [f'coe_kpi_tokens{{window="24h",direction="{way}"}}' for way in ("input", "output")]
    assert sum(float(scraped.get(way, 0)) for way in ways) == plain.tokens

    panel = KpiPanel(book, reader, ManualClock(now))
    items = await panel.show(Principal(group=GroupName("research"), role="operator"), {})
    figures = [item.value for item in items if isinstance(item, Stat)]
    each = None if cost is None else cost.quantize(PICO)
    assert figures == [percent(routing), dollars(each), f"{plain.tokens:,}", percent(tools)]


async def test_gauges_are_the_report_s_numbers(open_book: OpenBook) -> None:
    reader = Paged(1000)
    reader.log = Traffic(Random(7)).records(300)
    async with open_book(reader) as book:
        await book.catch_up()
        samples = {(s.metric, *sorted(s.labels.items())): s.value for s in await book.measure()}
        for length in ("5m", "1h", "24h"):
            kpis = (await ask(book, window=length)).total
            key = ("window", length)
            cost = kpis.cost_per_success
            assert samples["coe_kpi_cost_usd", key] == float(cost.cost_usd)
            assert samples["coe_kpi_routing_decisions", key] == kpis.routing_success_rate.decisions
            assert samples["coe_kpi_tool_call_ratio", key] == kpis.tool_call_ratio.value
        rows = (await ask(book, window="24h", by="model")).rows
        for row in rows:
            key = (("model", row.label), ("window", "24h"))
            if row.label:
                assert samples["coe_kpi_model_tokens", *key] == row.kpis.token_usage.total


async def test_no_series_stands_twice_though_some_turns_led_nowhere(open_book: OpenBook) -> None:
    turn = Traffic(Random(3)).turn()
    routes = [None, None, *(Route(model=f"model-{n}") for n in range(2 * MOST_VALUES))]
    reader = Paged(1000)
    reader.log = [
        evolve(turn, id=TurnId(uuid7()), provenance=None, started_at=EPOCH, route=route)
        for route in routes
    ]
    async with open_book(reader) as book:
        await book.catch_up()
        names = [(s.metric, *sorted(s.labels.items())) for s in await book.measure()]
    assert len(set(names)) == len(names)
    assert ("coe_kpi_model_turns", ("model", "none"), ("window", "24h")) in names


async def test_feedback_revises_the_turn_s_own_window_whenever_it_comes(
    open_book: OpenBook,
) -> None:
    traffic = Traffic(Random(3))
    turns = [t for t in (traffic.turn() for _ in range(80)) if not t.provenance]
    said = [traffic.feedback(turn) for turn in turns]
    before, after = Paged(9), Paged(9)
    before.log, after.log = [*said, *turns], [*turns, *said, *said]
    async with open_book(before) as first, open_book(after) as second:
        totals = [(await ask(book, window="30d")).total for book in (first, second)]
        assert totals[0] == totals[1]
        after.log += [traffic.feedback(turn) for turn in turns]
        revised = (await ask(second, window="30d")).total
        assert revised.routing_success_rate.successes < totals[1].routing_success_rate.successes
        since, until = (await ask(second, window="30d")).since, EPOCH
        assert since < until


async def test_two_workers_count_everything_once(open_book: OpenBook, tmp_path: Any) -> None:
    reader = Paged(5)
    traffic = Traffic(Random(11))
    clock = ManualClock()
    first, second = [_book(tmp_path, reader, clock) for _ in range(2)]
    await asyncio.gather(first.open(), second.open())
    for _ in range(6):
        reader.log += traffic.records(16)
        await asyncio.gather(*(book.catch_up() for book in (first, second, first)))
    whole = await ask(second, window="30d")
    assert shown(whole.total) == count(reader.log, whole.since, whole.until)
    await asyncio.gather(first.close(), second.close())


async def test_a_log_that_was_replaced_is_folded_anew(open_book: OpenBook) -> None:
    from coe_core.ephemeral import EphemeralRecords

    reader = EphemeralRecords()
    traffic = Traffic(Random(5))
    async with open_book(reader) as book:
        for _ in range(20):
            await reader.append(traffic.turn())
        await book.catch_up()
        reader._written.clear()
        reader._count = 0
        await book.catch_up()
        assert (await ask(book, window="30d")).total.token_usage.total == 0


@pytest.mark.parametrize("window", ["4m", "31d", "1w", "5", "", "-5m", "005m", "5m\n"])
async def test_what_is_no_window_is_refused(open_book: OpenBook, window: str) -> None:
    async with open_book(Paged(1)) as book:
        with pytest.raises(InvalidField, match="5m to 30d"):
            await ask(book, window=window)


async def test_what_nothing_is_counted_by_is_refused(open_book: OpenBook) -> None:
    async with open_book(Paged(1)) as book:
        with pytest.raises(InvalidField, match="did you mean 'group'"):
            await ask(book, by="gruop")
        for by in BY:
            await ask(book, by=by)


async def test_junk_labels_are_shown_together(open_book: OpenBook) -> None:
    reader = Paged(1000)
    traffic = Traffic(Random(2))
    turns = [evolve(traffic.turn(), provenance=None, started_at=EPOCH) for _ in range(400)]
    reader.log = [evolve(turn, group=f"junk-{n}") for n, turn in enumerate(turns)]
    async with open_book(reader) as book:
        rows = (await ask(book, by="group", window="5m")).rows
        assert len(rows) == 51
        assert rows[-1].label == "other"
        whole = (await ask(book, window="5m")).total
        assert sum(r.kpis.tool_call_ratio.turns for r in rows) == whole.tool_call_ratio.turns
        assert sum(r.kpis.token_usage.total for r in rows) == whole.token_usage.total


def _book(folder: Any, reader: Any, clock: ManualClock) -> Book:
    from coe_kpi.gauge import Gauges

    return Book(folder, reader, clock, 5.0, Gauges({}))


def test_the_first_hour_of_seoul_s_day_is_of_yesterday_in_utc() -> None:
    from coe_kpi.window import Window, calendar, minute_of

    start = minute_of(datetime(2026, 11, 1, 14, 30, tzinfo=UTC))
    days = [*calendar(Window(start, start + 1440), "day", SEOUL)]
    assert [day.end.hour for day in days] == [15, 14]


def test_the_hour_that_comes_twice_is_two() -> None:
    from coe_kpi.window import Window, calendar, minute_of

    start = minute_of(datetime(2026, 10, 25, 0, 0, tzinfo=UTC))  # 02:00 in Berlin, twice
    hours = [*calendar(Window(start, start + 180), "hour", ZoneInfo("Europe/Berlin"))]
    assert [(hour.end - hour.start).seconds for hour in hours] == [3600] * 3
