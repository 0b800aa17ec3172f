"""What KPI calls and console pages cost over millions of turns, while others are recorded.

Run with `python3 noxfile.py bench kpi`, or `python bench/kpi.py 5000000` for so many turns, all of
them of the last 30 days, of 20 groups, 6 routes and 8 models. One day of them is added up by the
fold itself; SQL repeats that day 30 times, in the roll-ups and in the records' table, whose rows
all point at the few lines of the log that there are. Then a deployment is opened on that folder,
100 turns a second are recorded by its journal, and every call and page is asked for again and
again, as the server asks for it.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import resource
import sqlite3
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from random import Random

from attrs import define, evolve, field, frozen
from coe_kpi.book import FILE
from coe_kpi.command import book_of
from coe_kpi.fact import Call, Scope, TurnFact
from coe_kpi.report import BY
from coe_kpi.store import RollupStore
from records import make_turn

from coe_core.access import GroupName, Principal
from coe_core.host import Host
from coe_core.http import HttpRequest
from coe_core.service import Clock, Journal

TURNS = 200_000
DAYS = 30
DAY_MINUTES = 1440
BATCH = 20_000
LINES = 2_000
"""So many turns are really in the log before."""
RATE = 100
REPEATS = 40
GROUPS = 20
WINDOWS = ("5m", "1h", "24h", "7d", "30d")
FILTERS = (
    {"group": "group-3", "by": "route"},
    {"group": "group-3", "by": "hour"},
    {"model": "model-1", "by": "group"},
    {"group": "group-3", "model": "model-1", "by": "day"},
    {"group": "group-3", "route": "route-2", "model": "model-1", "by": "hour"},
)
PANELS = (
    {},
    {"window": "30d"},
    {"window": "30d", "figure": "routing"},
    {"window": "30d", "figure": "cost", "by": "group"},
    {"window": "30d", "figure": "tokens", "group": "group-3", "model": "model-1"},
    {"window": "30d", "figure": "routing", "behind": "every"},
    {"window": "30d", "figure": "routing", "group": "group-3", "behind": "target_error"},
    {"window": "30d", "figure": "routing", "group": "group-3", "behind": "timeout"},
)
"""What the panel is asked: `timeout` is behind no turn of them."""
SETTINGS = """
[models.small]
provider = "openai"
base_url = "http://127.0.0.1:9/v1"
price = { input = "0.15", output = "0.60" }
[routing]
default = "small"
[plugins.local]
enabled = false
"""
OPERATOR = Principal(group=GroupName("group-3"), role="operator")


def made_facts(turns: int, first_minute: int) -> Iterator[TurnFact]:
    """Make the turns of a day, oldest first."""
    random = Random(1)  # noqa: S311 it makes no secrets
    for number in range(turns):
        group, route = f"group-{number % GROUPS}", f"route-{random.randrange(6)}"
        target = model = f"model-{random.randrange(8)}"
        called = Scope(group, route, target, model, random.choice(("chat", "chat", "summary")))
        call = Call(scope=called, input_tokens=900, output_tokens=200, cost_pico=123_456_789)
        yield TurnFact(
            id=f"t{number:07d}",
            minute=first_minute + number * DAY_MINUTES // turns,
            scope=Scope(group, route, target),
            result=random.choice(("success",) * 19 + ("target_error",)),
            tool_calls=random.choice((0, 0, 1)),
            calls=(call,),
        )


def fill_rollups(path: Path, per_day: int, first_minute: int) -> None:
    """Add a day up, tell what it took, and repeat it."""
    store = RollupStore.open(path)
    cursor, spent_s = store.cursor, 0.0
    for batch in _batches(made_facts(per_day, first_minute)):
        began_s = time.process_time()
        store.add(batch, behind=cursor, cursor=cursor)
        spent_s += time.process_time() - began_s
    store.close()
    print(f"added up {per_day} turns: {spent_s / per_day * 1e6:.0f} us CPU each")
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("BEGIN")
    ours = f"bucket BETWEEN {first_minute} AND {first_minute + DAY_MINUTES - 1}"
    for day in range(1, DAYS):
        later, more = day * DAY_MINUTES, day * per_day
        connection.execute(
            f"INSERT INTO facts SELECT printf('t%07d', substr(id, 2) + {more}), minute + {later}, "
            "scope, result, tool_calls, tool_failures FROM facts "
            f"WHERE id BETWEEN 't0000000' AND 't{per_day - 1:07d}'"
        )
        for table in ("turns", "calls"):
            rest = ", ".join(
                name
                for _, name, *_ in connection.execute(f"PRAGMA table_info({table})")
                if name not in ("view", "span", "bucket")
            )
            connection.execute(
                f"INSERT OR IGNORE INTO {table} SELECT view, span, bucket + {later}, {rest} "
                f"FROM {table} WHERE {ours}"
            )
    connection.execute("COMMIT")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    print(f"{path.name}: {path.stat().st_size / per_day / DAYS:.0f} bytes a turn")


def fill_records(path: Path, turns: int, per_day: int, first_minute: int) -> None:
    """Repeat what is in the records' table, with other ids, groups, sessions and times."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA cache_size = -1000000")
    columns = [name for _, name, *_ in connection.execute("PRAGMA table_info(interactions)")]
    made = {
        "id": "printf('t%07d', n)",
        "group_name": f"'group-' || (n % {per_day} % {GROUPS})",
        "session_id": "printf('s%07d', n / 4)",
        "started_at": f"strftime('%Y-%m-%dT%H:%M:%fZ', {first_minute * 60} + "
        f"n * {DAYS * 86_400.0 / turns!r}, 'unixepoch')",
        "root_id": "printf('t%07d', n)",
        "conversation_key": "random()",
    }
    chosen = ", ".join(made.get(name, name) for name in columns)
    names = ", ".join(columns)
    connection.execute("CREATE TEMP TABLE there AS SELECT * FROM interactions")
    connection.execute("BEGIN")
    for start in range(0, turns, LINES):
        connection.execute(
            f"INSERT INTO interactions ({names}) SELECT {chosen} FROM "
            f"(SELECT *, rowid - 1 + {start} AS n FROM there)"
        )
    connection.execute("COMMIT")
    connection.close()


async def record(journal: Journal) -> None:
    """Record turns at the rate, until cancelled."""
    due_s = time.monotonic()
    while True:
        due_s += 0.1
        await asyncio.gather(*(journal.append(_turn()) for _ in range(RATE // 10)))
        await asyncio.sleep(max(0.0, due_s - time.monotonic()))


def _turn() -> object:
    turn = make_turn()
    return evolve(turn, group=f"group-{hash(turn.id) % GROUPS}")


@define
class Asking:
    """Asks a deployment as its server does, and keeps how long each answer took."""

    host: Host
    every: list[Took] = field(factory=list)

    async def ask(self, path: str, pattern: str | None = None, **query: str) -> None:
        """Ask some times, and print how long it took."""
        application = self.host.application
        (route,) = [
            r for r in application.http_routes if (r.method, r.path) == ("GET", pattern or path)
        ]
        request = HttpRequest(
            method="GET",
            path=path,
            path_params={"turn_id": path.rpartition("/")[2], "name": path.rpartition("/")[2]},
            query=query,
            principal=OPERATOR,
            application=application,
            request_id="req_bench",
        )
        name = path + "?" * bool(query) + "&".join(f"{n}={v}" for n, v in query.items())
        took = await timed(lambda: route.handler(request))
        self.every += took
        print(f"{name:80} {_figures(took)}", flush=True)


@frozen
class Took:
    """What one answer took. CPU is of all threads, and so with what was recorded meanwhile."""

    wall_ms: float
    cpu_ms: float


async def timed(work: Callable[[], Awaitable[object]]) -> list[Took]:
    """Do it again and again."""
    took = []
    for _ in range(REPEATS):
        began_s, cpu_s = time.perf_counter(), time.process_time()
        await work()
        wall_ms = (time.perf_counter() - began_s) * 1000
        took.append(Took(wall_ms, (time.process_time() - cpu_s) * 1000))
    return took


async def ask_for_everything(asking: Asking) -> None:
    """Ask for every call and page."""
    columns = ("p50 ms", "p95 ms", "max ms", "CPU p50", "CPU p95")
    print(f"{'asked for':80} {' '.join(f'{column:>8}' for column in columns)}")
    for window, by in itertools.product(WINDOWS, (None, *BY)):
        await asking.ask("/coe/v1/kpis", window=window, **({"by": by} if by else {}))
    for filters in FILTERS:
        await asking.ask("/coe/v1/kpis", window="30d", **filters)
    for asked in PANELS:
        await asking.ask("/console/panels/kpi", "/console/panels/{name}", **asked)
    await asking.ask("/metrics")
    for path in ("/console", "/console/turns", "/console/plugins"):
        await asking.ask(path)
    await asking.ask("/console/turns/t0123456", "/console/turns/{turn_id}")
    print(f"{'everything':80} {_figures(asking.every)}")


def _figures(took: list[Took]) -> str:
    wall, cpu = sorted(each.wall_ms for each in took), sorted(each.cpu_ms for each in took)
    middle, most = len(took) // 2, int(0.95 * len(took))
    figures = (wall[middle], wall[most], wall[-1], cpu[middle], cpu[most])
    return " ".join(f"{figure:8.1f}" for figure in figures)


def _batches(facts: Iterator[TurnFact]) -> Iterator[list[TurnFact]]:
    while batch := list(itertools.islice(facts, BATCH)):
        yield batch


async def first_lines(config: Path, folder: Path) -> None:
    """Record some turns, and tell what it takes to fold them."""
    host = await Host.start(config, data_dir=folder)
    journal = host.application.need(Journal)
    for _ in range(LINES // 500):
        await asyncio.gather(*(journal.append(make_turn()) for _ in range(500)))
    began_s = time.process_time()
    await book_of(host.application).catch_up()
    spent_s = time.process_time() - began_s
    print(f"folded {LINES} lines of the log: {spent_s / LINES * 1e6:.0f} us CPU each")
    await host.close()


def resident_mb() -> int:
    """Return the memory that this process has now."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize() // 2**20


def folder_mb(folder: Path) -> int:
    """Return what is in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) // 2**20


async def main(turns: int) -> None:
    """Measure."""
    with tempfile.TemporaryDirectory() as name:
        folder, config = Path(name), Path(name) / "coe.toml"
        config.write_text(SETTINGS, encoding="utf-8")
        await first_lines(config, folder)
        per_day, today = turns // DAYS, int(time.time()) // 86_400
        first_minute = (today - DAYS + 1) * DAY_MINUTES
        fill_rollups(folder / FILE, per_day, first_minute)
        fill_records(folder / "coe.db", per_day * DAYS, per_day, first_minute)
        host = await Host.start(config, data_dir=folder)
        recording = asyncio.create_task(record(host.application.need(Journal)))
        print(f"load before: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
        await ask_for_everything(Asking(host))
        print(f"load after: {os.getloadavg()[0]:.1f}")
        newest = await book_of(host.application).ask(lambda store: store.newest)
        now = host.application.need(Clock).now()
        print(f"level with the log: {newest == int(now.timestamp()) // 60}")
        print(f"memory: {resident_mb()} MB; {folder_mb(folder)} MB on disk")
        recording.cancel()
        with suppress(asyncio.CancelledError):
            await recording
        await host.close()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else TURNS))
