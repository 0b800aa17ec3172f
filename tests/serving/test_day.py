"""A scripted day of traffic: every surface shows what a plain count over the log's lines gives, and
the right alerts fire and recover.
"""

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest
from attrs import define, field, frozen
from coe_calculator.plugin import CalculatorPlugin
from coe_console.plugin import ConsolePlugin
from coe_fallback.plugin import FallbackPlugin
from coe_keys.plugin import KeysPlugin
from coe_kpi.gauge import WINDOWS
from coe_kpi.grafana import dashboard
from coe_kpi.plugin import KpiPlugin
from coe_models_openai.plugin import OpenAIPlugin
from coe_records.plugin import RecordsPlugin
from coe_server.plugin import ServerPlugin

from coe_core.clock import SystemClock
from coe_core.host import Host
from coe_core.testing import deployment
from coe_core.testing.upstream import Received, Script, Upstream

from .test_turns import serving

COE = (sys.executable, "-c", "from coe_core.cli import main; main()")
PLUGINS: dict[str, Any] = {
    "calculator": CalculatorPlugin,
    "console": ConsolePlugin,
    "fallback": FallbackPlugin,
    "keys": KeysPlugin,
    "kpi": KpiPlugin,
    "openai": OpenAIPlugin,
    "records": RecordsPlugin,
    "server": ServerPlugin,
}
PRICES = {"cheap": ("0.15", "0.60"), "dear": ("2.50", "10"), "free": ("0", "0")}
DEAR_USD = float(PRICES["dear"][1]) / 1e6
ZONES = ("Asia/Seoul", "America/St_Johns")
GROUPS = ("research", "지원")
BUDGET_USD = 100
SHARES = {"research": 0.95, "지원": 0.3}
"""How much of its budget a group spends in one turn, when it is told to."""
SUM = [
    {
        "id": "call_1",
        "type": "function",
        "function": {"name": "calculator", "arguments": '{"expression": "6 * 7"}'},
    }
]


@define
class TravellingClock:
    """A `Clock` that tells another time than it is."""

    offset: timedelta = field(factory=timedelta)
    clock: SystemClock = field(factory=SystemClock)

    def now(self) -> datetime:
        return self.clock.now() + self.offset

    def monotonic_s(self) -> float:
        return self.clock.monotonic_s()

    async def sleep(self, seconds: float) -> None:
        await self.clock.sleep(seconds)


def settings(upstream: str, zone: str) -> str:
    models = "".join(
        f'[models.{name}]\nprovider = "openai"\nmodel = "{name}"\nbase_url = "{upstream}"\n'
        f'price = {{ input = "{into}", output = "{out}" }}\n'
        for name, (into, out) in PRICES.items()
    )
    return f"""{models}
[routing]
default = "cheap"
fallbacks = {{ dear = ["cheap"] }}
[groups.research]
budget_usd_month = "{BUDGET_USD}"
[groups."지원"]
budget_usd_month = "{BUDGET_USD}"
[plugins.fallback]
backoff_s = 0.01
[plugins.kpi]
zone = "{zone}"
[plugins.console]
language = "en"
"""


def respond(asked: Received) -> Script:
    """Do as the question says."""
    body = asked.json
    said = [message["content"] for message in body["messages"] if message["role"] == "user"][-1]
    usage = {"input_tokens": 40, "output_tokens": 7}
    match said, body["model"]:
        case "fall back", "dear":
            return Script(status=503)
        case "retry", _ if not RETRIED:
            RETRIED.append(True)
            return Script(status=503)
        case "fail", _:
            return Script(status=503)
        case "calculate", _ if body["messages"][-1]["role"] == "user":
            return Script(tool_calls=tuple(SUM), **usage)
        case "leave", _:
            return Script(hang_after=2, **usage)
        case "spend research" | "spend 지원", _:
            group_usd = BUDGET_USD * SHARES[said.removeprefix("spend ")]
            return Script(input_tokens=0, output_tokens=int(group_usd / DEAR_USD))
    return Script(**usage)


RETRIED: list[bool] = []
HOURS = (
    *("plain", "retry", "calculate", "plain", "fail", "plain", "leave", "plain", "fall back"),
    *("plain", "calculate", "plain", "plain", "dislike", "plain", "plain", "calculate", "plain"),
    *("leave", "plain", "plain", "plain", "dislike", "fall back"),
)


@frozen
class Day:
    folder: Path
    host: Host
    clock: TravellingClock
    http: httpx.AsyncClient
    keys: dict[str, str]

    def key(self, name: str) -> dict[str, str]:
        return {"authorization": f"Bearer {self.keys[name]}"}

    async def pass_(self) -> None:
        """Let an hour after another pass, with a turn of each group in it."""
        for hour, what in enumerate(HOURS):
            self.clock.offset = timedelta(hours=hour + 1 - len(HOURS))
            model = {"fall back": "dear", "calculate": "auto"}.get(what, [*PRICES][hour % 3])
            for group in GROUPS:
                RETRIED.clear()
                await self.turn(group, what, model)

    async def turn(self, group: str, what: str, model: str) -> None:
        messages = [{"role": "user", "content": what}]
        body = {"model": model, "messages": messages, "stream": what == "leave"}
        if what == "leave":
            async with self.http.stream(
                "POST", "/v1/chat/completions", json=body, headers=self.key(group)
            ) as response:
                async for _ in response.aiter_raw():
                    break
            return
        answer = await self.http.post("/v1/chat/completions", json=body, headers=self.key(group))
        if what == "dislike" and answer.status_code == 200:
            turn_id = answer.json()["id"].removeprefix("chatcmpl-")
            said = {"turn_id": turn_id, "rating": -1}
            told = await self.http.post("/coe/v1/feedback", json=said, headers=self.key(group))
            assert told.status_code == 201, told.text

    async def alerts(self) -> set[str]:
        (job,) = [job for job in self.host.application.jobs if job.name == "alerts"]
        report: Any = await job.run()
        return set(report["firing"])


@pytest.fixture
async def day(tmp_path: Path) -> AsyncIterator[Day]:
    async with AsyncExitStack() as stack:
        upstream = await stack.enter_async_context(Upstream(respond=respond))
        (tmp_path / "coe.toml").write_text(settings(upstream.url, ZONES[0]))
        keys = {
            name: await asyncio.to_thread(
                coe, tmp_path, "keys", "create", "--group", group, "--role", role
            )
            for name, group, role in (
                *((group, group, "member") for group in GROUPS),
                ("operator", "research", "operator"),
            )
        }
        clock = TravellingClock()
        host = await stack.enter_async_context(
            deployment(
                settings(upstream.url, ZONES[0]), plugins=PLUGINS, data_dir=tmp_path, clock=clock
            )
        )
        assert host.application.problems == ()
        url = await stack.enter_async_context(serving(host))
        http = httpx.AsyncClient(base_url=url.removesuffix("/v1"), timeout=60)
        yield Day(tmp_path, host, clock, await stack.enter_async_context(http), keys)


def coe(folder: Path, *arguments: str) -> str:
    command = [*COE, *arguments, "--data", "."]
    return subprocess.run(
        command, cwd=folder, check=True, capture_output=True, text=True
    ).stdout.strip()


def lines(folder: Path) -> list[dict[str, Any]]:
    files = sorted((folder / "events").glob("*/interactions*.jsonl"))
    return [json.loads(line) for path in files for line in path.read_text().splitlines()]


Numbers = tuple[int, float | None, float | None, Decimal | None]


def counted(folder: Path, group: str | None = None, date: str = "", zone: str = "UTC") -> Numbers:
    """Count over the lines of the log, with nothing of CoE's."""
    records = lines(folder)
    bad = {r["body"]["turn_id"] for r in records if r["kind"] == "feedback"}
    turns = [r["body"] for r in records if r["kind"] == "interaction"]
    turns = [t for t in turns if group in (None, t["group"])]
    turns = [
        t
        for t in turns
        if not date or at(t["started_at"]).astimezone(ZoneInfo(zone)).isoformat().startswith(date)
    ]
    attempts = [a for t in turns for a in t.get("attempts", ())]
    tokens = sum(a["usage"]["input_tokens"] + a["usage"]["output_tokens"] for a in attempts)
    decided = [
        t
        for t in turns
        if t["outcome"]["status"] == "success" or t["outcome"].get("failure") is not None
    ]
    good = [t for t in decided if t["outcome"].get("failure") is None and t["id"] not in bad]
    used = [t for t in turns if t.get("tool_runs")]
    cost = sum((Decimal(str(a["cost_usd"])) for a in attempts), Decimal(0))
    return (
        tokens,
        len(used) / len(turns) if turns else None,
        len(good) / len(decided) if decided else None,
        cost / len(good) if good else None,
    )


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def shown(kpis: Any) -> Numbers:
    cost = kpis["cost_per_success"]["value_usd"]
    return (
        kpis["token_usage"]["total"],
        kpis["tool_call_ratio"]["value"],
        kpis["routing_success_rate"]["value"],
        None if cost is None else Decimal(str(cost)),
    )


def alike(one: Numbers, other: Numbers) -> bool:
    costs = [n[3] for n in (one, other)]
    if None in costs:
        return one == other
    return one[:3] == other[:3] and abs(costs[0] - costs[1]) < Decimal("1e-11")  # type: ignore[operator]


async def test_a_day_is_the_same_everywhere_and_its_alerts_fire_and_recover(day: Day) -> None:
    await day.pass_()
    await settled(day)
    operator = day.key("operator")

    async def api(**query: str) -> Any:
        answer = await day.http.get(
            "/coe/v1/kpis", params={"window": "3d"} | query, headers=operator
        )
        assert answer.status_code == 200, answer.text
        return answer.json()

    whole = counted(day.folder)
    assert whole[0] > 0
    assert 0 < (whole[1] or 0) < 1
    assert 0 < (whole[2] or 0) < 1
    total = (await api())["total"]
    assert alike(shown(total), whole)
    for group in GROUPS:
        assert alike(shown((await api(group=group))["total"]), counted(day.folder, group))

    printed = json.loads(
        await asyncio.to_thread(coe, day.folder, "kpi", "--window", "3d", "--json")
    )
    assert printed["total"] == total

    metrics = (await day.http.get("/metrics", headers=operator)).text
    assert gauge(metrics, 'cost_per_success_usd{window="3d"}') == pytest.approx(
        float(whole[3] or 0)
    )
    assert gauge(metrics, 'tool_call_ratio{window="3d"}') == whole[1]
    assert gauge(metrics, 'routing_success_rate{window="3d"}') == whole[2]
    into, out = (
        gauge(metrics, f'tokens{{window="3d",direction="{way}"}}') for way in ("input", "output")
    )
    assert into + out == whole[0]

    assert unknown_series(metrics) == []
    assert all(f'coe_kpi_tokens{{window="{window}"' in metrics for window in WINDOWS)

    page = (await day.http.get("/console/panels/kpi?window=7d", headers=operator)).text
    figures = re.findall(r'<dd class="figure">([^<]+)</dd>', page)
    assert figures[0] == f"{whole[2]:.1%}"
    assert figures[2:] == [f"{whole[0]:,}", f"{whole[1]:.1%}"]
    assert Decimal(figures[1].lstrip("$")) == pytest.approx(whole[3], rel=Decimal("0.01"))

    await days_are_those_of_the_zone(day, ZONES[0], (await api(by="day"))["rows"])

    assert await day.alerts() == {"fallback-used", "routing-low-traffic"}
    day.clock.offset = timedelta(minutes=10)
    assert await day.alerts() == {"routing-low-traffic"}
    day.clock.offset = timedelta(days=2)
    assert await day.alerts() == set()

    await budgets_are_watched(day)


async def budgets_are_watched(day: Day) -> None:
    """In the middle of next month one group spends nearly all, and one more than the days allow."""
    now = day.clock.clock.now()
    day.clock.offset = (now.replace(day=1) + timedelta(days=32)).replace(day=10) - now
    assert await day.alerts() == set()
    for group in GROUPS:
        await day.turn(group, f"spend {group}", "dear")
    assert await day.alerts() == {"budget-spent/research"}
    day.clock.offset += timedelta(minutes=16)
    forecasts = {f"budget-forecast/{group}" for group in GROUPS}
    assert await day.alerts() == {"budget-spent/research", *forecasts}
    day.clock.offset += timedelta(days=2)
    assert await day.alerts() == {"budget-spent/research"}, "nobody goes on like this"
    day.clock.offset += timedelta(days=31)
    assert await day.alerts() == set()


async def days_are_those_of_the_zone(day: Day, zone: str, rows: Iterable[Any]) -> None:
    for row in rows:
        date = str(at(row["since"]).astimezone(ZoneInfo(zone)).date())
        assert alike(shown(row["kpis"]), counted(day.folder, None, date, zone)), (zone, date)


async def test_the_days_of_another_zone_are_counted_there(day: Day) -> None:
    await day.pass_()
    await settled(day)
    text = (day.folder / "coe.toml").read_text()
    (day.folder / "coe.toml").write_text(text.replace(ZONES[0], ZONES[1]))
    printed = json.loads(
        await asyncio.to_thread(coe, day.folder, "kpi", "--window", "3d", "--by", "day", "--json")
    )
    assert printed["zone"] == ZONES[1]
    await days_are_those_of_the_zone(day, ZONES[1], printed["rows"])


def unknown_series(metrics: str) -> list[str]:
    """List what the dashboard asks Prometheus for, and was not in the scrape."""
    made: Any = dashboard()
    series = {
        (name, *re.findall(r'\w+="(?:[^"\\]|\\.)*"', labels))
        for name, labels in re.findall(r"^(coe_\w+)\{(.*)\} \S+$", metrics, re.MULTILINE)
    }
    unknown = []
    for query in (t["expr"] for panel in made["panels"] for t in panel.get("targets", ())):
        (by,) = re.findall(r"by \((\w+)\)", query)[-1:] or [None]
        for window in ("24h", "3d"):  # in shorter ones some of what is divided is 0
            asked = query.replace("$window", window)
            ((name, labels),) = re.findall(r"(coe_\w+)(?:\{(.*?)\})?", asked)
            wanted = {name, *filter(None, labels.split(","))}
            fit = [each for each in series if wanted <= {*each}]
            if not any(by is None or any(x.startswith(f"{by}=") for x in each) for each in fit):
                unknown.append(asked)
    return unknown


def gauge(metrics: str, name: str) -> float:
    (value,) = re.findall(rf"^coe_kpi_{re.escape(name)} (\S+)$", metrics, re.MULTILINE)
    return float(value)


async def settled(day: Day) -> None:
    """Wait until the turns of those who left are recorded too."""
    async with asyncio.timeout(30):
        while sum(r["kind"] == "interaction" for r in lines(day.folder)) < 2 * len(HOURS):
            await asyncio.sleep(0.01)
