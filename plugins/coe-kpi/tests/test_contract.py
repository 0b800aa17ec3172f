"""The plugin, and each thing it contributes, under the suites."""

import re
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

import click
import pytest
from attrs import evolve
from coe_kpi.book import Book
from coe_kpi.command import kpi_command
from coe_kpi.exposition import ROUTE, written
from coe_kpi.panel import KpiPanel
from coe_kpi.plugin import KpiPlugin
from coe_kpi.route import kpi_route
from hypothesis import given
from hypothesis import strategies as st

from coe_core.access import GroupName, Principal
from coe_core.application import Application
from coe_core.codec import decode
from coe_core.contract import Sample
from coe_core.error import Forbidden, InvalidField
from coe_core.http import HttpRequest, HttpRoute
from coe_core.testing import (
    CliCommandContract,
    HttpRouteContract,
    MonitorContract,
    PanelContract,
    PluginContract,
    scripted_application,
)
from coe_core.testing.clock import EPOCH, ManualClock

from .traffic import GROUPS, Paged, Traffic

OpenBook = Callable[..., Any]
ZONE = ZoneInfo("Asia/Seoul")


class TestPlugin(PluginContract):
    name = "kpi"

    def make(self) -> type[KpiPlugin]:
        return KpiPlugin


class TestCommand(CliCommandContract):
    def make(self) -> click.Command:
        return kpi_command(ZONE)


class WithBook:
    @pytest.fixture(autouse=True)
    def books(self, open_book: OpenBook) -> None:
        self.open_book = open_book

    async def book(self) -> AsyncIterator[Book]:
        reader = Paged(100)
        reader.log = Traffic(Random(1)).records(40)
        async with self.open_book(reader, budgets={"research": 10}) as book:
            yield book


class TestMonitor(WithBook, MonitorContract):
    def make(self) -> AsyncIterator[Book]:
        return self.unopened()

    async def unopened(self) -> AsyncIterator[Book]:
        async for book in self.book():
            await book.close()  # the suite opens it
            yield book
            await book.open()


class TestPanel(WithBook, PanelContract):
    async def make(self) -> AsyncIterator[KpiPanel]:
        reader = Paged(100)
        reader.log = Traffic(Random(1)).records(40)
        async with self.open_book(reader) as book:
            yield KpiPanel(book, reader, ManualClock())


class TestKpiRoute(WithBook, HttpRouteContract):
    async def make(self) -> AsyncIterator[HttpRoute]:
        async for book in self.book():
            yield kpi_route(book, ZONE)

    def application(self) -> Application:
        return scripted_application()

    def valid(self) -> HttpRequest:
        return evolve(self.asked(ROUTE), path="/coe/v1/kpis", query={"by": "day", "window": "24h"})


class TestMetricsRoute(HttpRouteContract):
    def make(self) -> HttpRoute:
        return ROUTE

    def application(self) -> Application:
        return scripted_application()


def request(role: Any, **query: str) -> HttpRequest:
    return HttpRequest(
        method="GET",
        path="/coe/v1/kpis",
        query=query,
        principal=Principal(group=GroupName("research"), role=role),
        application=scripted_application(),
        request_id="req_1",
    )


async def test_a_viewer_sees_its_own_group_alone(open_book: OpenBook) -> None:
    reader = Paged(100)
    traffic = Traffic(Random(4), datetime.now(UTC))
    turns = [evolve(traffic.turn(), provenance=None, started_at=traffic.now) for _ in range(30)]
    reader.log = [*turns]
    async with open_book(reader) as book:
        await book.catch_up()
        handler = kpi_route(book, ZONE).handler

        async def labels(role: str, **query: str) -> set[str]:
            asked = request(role, window="30d", by="group", **query)
            answer: Any = decode((await handler(asked)).body)  # type: ignore[arg-type]
            return {row["label"] for row in answer["rows"]}

        assert await labels("operator") == {turn.group for turn in turns} == {*GROUPS}
        assert await labels("viewer") == await labels("member", group="research") == {"research"}
        with pytest.raises(Forbidden, match="operator"):
            await labels("viewer", group="지원")


async def test_a_misspelt_parameter_is_refused(open_book: OpenBook) -> None:
    async with open_book(Paged(1)) as book:
        with pytest.raises(InvalidField, match="did you mean 'window'"):
            await kpi_route(book, ZONE).handler(request("operator", windwo="5m"))


LINE = re.compile(r'([a-z_0-9]+)\{((?:[a-z_0-9]+="(?:[^"\\\n]|\\.)*",?)*)\} (\S+)')


labels = st.from_regex(r"[a-z][a-z0-9_]{0,9}", fullmatch=True)
metrics = st.builds(
    Sample,
    metric=st.from_regex(r"coe_[a-z]{1,9}(_total)?", fullmatch=True),
    value=st.floats(allow_nan=False),
    at=st.just(EPOCH),
    labels=st.dictionaries(labels, st.text(), max_size=3),
)


@given(metrics)
def test_what_is_written_can_be_read(sample: Sample) -> None:
    kind, line, _ = written([sample]).split("\n")
    assert kind == f"# TYPE {sample.metric} " + (
        "counter" if sample.metric.endswith("_total") else "gauge"
    )
    found = LINE.fullmatch(line)
    assert found is not None, line
    assert found[1] == sample.metric
    assert float(found[3]) == sample.value
    pairs = re.findall(r'([a-z_0-9]+)="((?:[^"\\\n]|\\.)*)"', found[2])
    plain = {"\\n": "\n", '\\"': '"', "\\\\": "\\"}
    read = {n: re.sub(r'\\[n"\\]', lambda m: plain[m[0]], v) for n, v in pairs}
    assert read == dict(sample.labels)


async def test_junk_leaves_metrics_small(open_book: OpenBook) -> None:
    reader = Paged(1000)
    traffic = Traffic(Random(9))
    turns = [evolve(traffic.turn(), provenance=None, started_at=EPOCH) for _ in range(2000)]
    reader.log = [
        evolve(
            turn,
            group=f"g{n}",
            attempts=tuple(evolve(a, model=f"m{n}") for a in turn.attempts),
            requested_model=f"path/{n}",
        )
        for n, turn in enumerate(turns)
    ]
    async with open_book(reader) as book:
        await book.catch_up()
        measured = await book.measure()
        assert len(measured) < 500
        one_hour = [s for s in measured if s.labels.get("window") == "1h"]
        tokens = sum(s.value for s in one_hour if s.metric == "coe_kpi_tokens")
        by_model = sum(s.value for s in one_hour if s.metric == "coe_kpi_model_tokens")
        assert tokens == by_model
