"""What KPI calls cost over many turns, while others are recorded.

Run with `python3 noxfile.py bench kpi`, or `python bench/kpi.py 5000000` for so many turns. Those
of 30 days, of 20 groups, 6 routes and 8 models, are added up by the fold itself, as facts; what
reading and decoding their lines costs besides is measured over a real log. Then every call is made
again and again through the book, level with the log each time, while 100 turns a second are
recorded by the real journal in the same process.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from random import Random
from zoneinfo import ZoneInfo

from coe_kpi.book import FILE, Book
from coe_kpi.fact import Call, Scope, TurnFact, minute_of
from coe_kpi.gauge import Gauges
from coe_kpi.report import BY, Query, report
from coe_kpi.store import RollupStore
from coe_records.records import Records
from records import make_turn

from coe_core.clock import SystemClock
from coe_core.identity import uuid7

TURNS = 200_000
BATCH = 5_000
DAYS = 30
RATE = 100
REPEATS = 8
WINDOWS = ("5m", "1h", "24h", "7d", "30d")
ZONE = ZoneInfo("Asia/Seoul")


def made_facts(turns: int, random: Random) -> Iterator[TurnFact]:
    """Make turns of the last days, oldest first."""
    now = time.time()
    for number in range(turns):
        at_s = now - DAYS * 86_400 * (1 - number / turns)
        group, route = f"group-{random.randrange(20)}", f"route-{random.randrange(6)}"
        target = model = f"model-{random.randrange(8)}"
        called = Scope(group, route, target, model, random.choice(("chat", "chat", "summary")))
        call = Call(scope=called, input_tokens=900, output_tokens=200, cost_pico=123_456_789)
        yield TurnFact(
            id=uuid7(int(at_s * 1000)),
            minute=int(at_s) // 60,
            scope=Scope(group, route, target),
            result=random.choice(("success",) * 19 + ("target_error",)),
            tool_calls=random.choice((0, 0, 1)),
            calls=(call,),
        )


def fill(path: Path, turns: int) -> None:
    """Add the turns up, and tell what it took."""
    store = RollupStore.open(path)
    facts = made_facts(turns, Random(1))  # noqa: S311 it makes no secrets
    spent_s = 0.0
    while batch := list(itertools.islice(facts, BATCH)):
        began_s = time.process_time()
        store.add(batch, behind="", cursor="")
        spent_s += time.process_time() - began_s
    store.close()
    size = path.stat().st_size
    each = f"{spent_s / turns * 1e6:.0f} us CPU and {size / turns:.0f} bytes each"
    print(f"added up {turns} turns: {each}")


async def record(records: Records) -> None:
    """Record turns at the rate, until cancelled."""
    due_s = time.monotonic()
    while True:
        due_s += 0.1
        await asyncio.gather(*(records.append(make_turn()) for _ in range(RATE // 10)))
        await asyncio.sleep(max(0.0, due_s - time.monotonic()))


async def call(book: Book) -> None:
    """Make every call, and print how long they took."""
    clock = SystemClock()
    every: list[float] = []
    print(f"{'call':24} {'p50 ms':>8} {'p95 ms':>8} {'max ms':>8}")
    for length, by in itertools.product(WINDOWS, (None, *BY)):
        if by == "hour" and length == "30d":
            continue  # 720 rows: made for the day's view, not for the month's.
        query, took = Query(window=length, by=by), []
        for _ in range(REPEATS):
            began_s = time.perf_counter()
            await book.ask(lambda store, q=query: report(store, q, clock.now(), ZONE))
            took.append((time.perf_counter() - began_s) * 1000)
        every += took
        print(f"{length + ' by ' + (by or '-'):24} {_figures(took)}")
    print(f"{'all calls':24} {_figures(every)}")
    took = []
    for _ in range(REPEATS):
        began_s = time.perf_counter()
        await book.measure()
        took.append((time.perf_counter() - began_s) * 1000)
    print(f"{'/metrics':24} {_figures(took)}")


def _figures(took: list[float]) -> str:
    ranked = sorted(took)
    p50, p95 = (ranked[min(int(q * len(ranked)), len(ranked) - 1)] for q in (0.5, 0.95))
    return f"{p50:8.1f} {p95:8.1f} {ranked[-1]:8.1f}"


async def fold_lines(folder: Path, turns: int = 5_000) -> None:
    """Fold a real log from its beginning, and tell what a turn took."""
    records = Records(folder, SystemClock(), 1 << 30)
    await records.open()
    for _ in range(turns // 500):
        await asyncio.gather(*(records.append(make_turn()) for _ in range(500)))
    book = Book(folder, records, SystemClock(), 3600.0, Gauges({}))
    began_s = time.process_time()
    await book.open()
    await book.catch_up()
    spent_s = time.process_time() - began_s
    print(f"folded {turns} lines of a log: {spent_s / turns * 1e6:.0f} us CPU each")
    await book.close()
    await records.close()


async def main(turns: int) -> None:
    """Measure."""
    with tempfile.TemporaryDirectory() as name:
        await fold_lines(Path(name))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        fill(folder / FILE, turns)
        records = Records(folder, SystemClock(), 1 << 30)
        book = Book(folder, records, SystemClock(), 5.0, Gauges({}))
        await records.open()
        await book.open()
        recording = asyncio.create_task(record(records))
        await call(book)
        newest = await book.ask(lambda store: store.newest)
        print(f"level with the log: {newest == minute_of(SystemClock().now())}")
        recording.cancel()
        with suppress(asyncio.CancelledError):
            await recording
        await book.close()
        await records.close()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else TURNS))
