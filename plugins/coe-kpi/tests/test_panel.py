"""The console's panel: the report's numbers, and the way from each to the turns behind it."""

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from attrs import evolve
from coe_kpi.book import Book
from coe_kpi.look import trend
from coe_kpi.panel import KpiPanel, dollars, percent
from coe_kpi.report import Query, report
from coe_kpi.window import window
from hypothesis import given
from hypothesis import strategies as st

from coe_core.access import GroupName, Principal
from coe_core.panel import Choice, Link, Note, PanelItem, Stat, Table
from coe_core.record import Interaction
from coe_core.testing.clock import EPOCH, ManualClock

from .traffic import Paged, Traffic

OpenBook = Callable[..., Any]


class Kept(Paged):
    """A reader that knows its turns."""

    async def interaction(self, group: str, turn_id: str) -> Interaction | None:
        turns = [r for r in self.log if isinstance(r, Interaction) and r.id == turn_id]
        return next((turn for turn in turns if turn.group == group), None)


@pytest.fixture
def reader() -> Kept:
    reader, traffic = Kept(100), Traffic(Random(5))
    reader.log = [evolve(turn, provenance=None) for turn in (traffic.turn() for _ in range(300))]
    return reader


def person(role: Any, group: str = "research") -> Principal:
    return Principal(group=GroupName(group), role=role)


async def shown(book: Book, reader: Kept, who: Principal, **query: str) -> Sequence[PanelItem]:
    await book.catch_up()
    return await KpiPanel(book, reader, ManualClock()).show(who, query)


def links(items: Sequence[PanelItem]) -> list[Link]:
    return [
        cell
        for item in items
        if isinstance(item, Table)
        for row in item.rows
        for cell in row
        if isinstance(cell, Link)
    ]


async def test_it_shows_the_report_s_numbers(open_book: OpenBook, reader: Kept) -> None:
    async with open_book(reader) as book:
        items = await shown(book, reader, person("operator"), window="24h")
        asked = lambda store: report(store, Query(), EPOCH, ZoneInfo("UTC"))  # noqa: E731
        total = (await book.ask(asked)).total
    values = [item.value for item in items if isinstance(item, Stat)]
    assert values == [
        percent(total.routing_success_rate.value),
        dollars(total.cost_per_success.value_usd),
        f"{total.token_usage.total:,}",
        percent(total.tool_call_ratio.value),
    ]
    assert all(len(item.trend) == 24 for item in items if isinstance(item, Stat))


@pytest.mark.parametrize("role", ["viewer", "operator"])
async def test_from_any_number_two_clicks_lead_to_the_sessions_behind_it(
    open_book: OpenBook, reader: Kept, role: str
) -> None:
    who = person(role)
    turns = {turn.id: turn for turn in reader.log if isinstance(turn, Interaction)}
    async with open_book(reader) as book:
        first = await shown(book, reader, who, window="30d")
        for stat in [item for item in first if isinstance(item, Stat)]:
            second = await shown(book, reader, who, **(stat.query or {}))
            for link in links(second):
                third = await shown(book, reader, who, **(link.query or {}))
                told = [turns[cell.turn] for cell in links(third) if cell.turn is not None]
                assert told or any(isinstance(item, Note) for item in third)
                assert {turn.group for turn in told} <= {"research"}
                behind = (link.query or {}).get("behind")
                if behind == "tools":
                    assert all(turn.tool_runs for turn in told)
                if behind == "timeout":
                    assert all(turn.outcome.failure == "timeout" for turn in told)


async def test_page_after_page_shows_every_turn_of_the_group_once(
    open_book: OpenBook, reader: Kept
) -> None:
    found: list[str] = []
    query: Mapping[str, str] | None = {"window": "30d", "behind": "every"}
    async with open_book(reader) as book:
        while query is not None:
            items = await shown(book, reader, person("viewer"), **query)
            found += [link.turn for link in links(items) if link.turn is not None]
            older = [item for item in items if isinstance(item, Choice)][2:]
            query = older[0].options[0].query if older else None
        listed = await book.ask(lambda store: report(store, QUERY, EPOCH, ZoneInfo("UTC")))
    total = listed.total
    expected = total.tool_call_ratio.turns + total.routing_success_rate.unresolved
    assert len(found) == len(set(found)) == expected


QUERY = Query(window="30d", group="research")


async def test_another_group_s_turns_are_shown_to_nobody(open_book: OpenBook, reader: Kept) -> None:
    async with open_book(reader) as book:
        other = {"window": "30d", "behind": "every", "group": "지원"}
        items = await shown(book, reader, person("admin"), **other)
        assert not links(items)
        assert any(isinstance(item, Note) for item in items)
        mine = await shown(book, reader, person("viewer"), **other)
        turns = {link.turn for link in links(mine)}
    assert {turn.group for turn in reader.log if getattr(turn, "id", "") in turns} == {"research"}


@pytest.mark.parametrize("length", ["1h", "24h", "7d", "30d"])
@given(minute=st.integers(0, 40 * 1440))
def test_a_trend_is_of_equal_parts_up_to_now_and_a_long_one_of_whole_hours(
    length: str, minute: int
) -> None:
    whole = window(length, EPOCH + timedelta(minutes=minute))
    parts = trend(whole)
    assert len({part.until - part.since for part in parts}) == 1
    assert [part.since for part in parts[1:]] == [part.until for part in parts[:-1]]
    assert parts[-1].since < whole.until <= parts[-1].until
    assert whole.since <= parts[0].since < whole.since + 60
    if length in ("7d", "30d"):
        assert all(part.since % 60 == 0 for part in parts)
