"""What durable turns cost: the journal beside the raw writes of the same bytes and rows.

Run with `python3 noxfile.py bench records`, or with the folder to write in as an argument. `raw`
writes each group's lines with one write and one fdatasync, and as many rows with the same columns
in one SQLite transaction, all made beforehand: what no journal can save. CPU includes that of the
tasks that wait for their turn. The best of several runs is shown, since other work on the machine
only ever adds.
"""

from __future__ import annotations

import asyncio
import os
import platform
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path

from attrs import frozen
from coe_records.audit import audit
from coe_records.folder import DataFolder
from coe_records.migration import migrate
from coe_records.projection import Mark
from coe_records.rebuild import rebuild
from coe_records.records import Records
from coe_records.row import Rows
from coe_records.writer import Draft

from coe_core.clock import SystemClock
from coe_core.identity import SessionId, TurnId, uuid7
from coe_core.message import assistant, user
from coe_core.model import Usage
from coe_core.record import Interaction, Pointer, conversation_digest
from coe_core.testing import make_attempt, make_interaction
from coe_core.turn import Outcome, Route

RUNS = 3
CONCURRENCY = {1: 400, 64: 6400, 256: 6400}
"""How many turns wait at once, and how many are written."""
SEGMENT_BYTES = 1 << 30


def make_turn() -> Interaction:
    """Make a turn with a question, an answer and one attempt: a line of about 2 kB, four rows."""
    now, turn_id = SystemClock().now(), TurnId(uuid7())
    asked, answer = user("What is the capital? " * 12), assistant("It is Seoul, I think. " * 24)
    attempt = make_attempt(
        started_at=now,
        first_token_s=0.1,
        usage=Usage(input_tokens=50, output_tokens=100),
        cost_usd=Decimal("0.00012"),
        price_version="0123456789ab",
    )
    return make_interaction(
        id=turn_id,
        session=SessionId(uuid7()),
        started_at=now,
        new_messages=(asked,),
        route=Route(model="small", reason="default", router="default"),
        attempts=(attempt,),
        answer=(answer,),
        outcome=Outcome(status="success", finish_reason="stop"),
        conversation=conversation_digest((asked, answer, user(turn_id))),
    )


@frozen
class Cost:
    """What a run took."""

    turns: int
    wall_s: float
    cpu_s: float

    def __str__(self) -> str:
        """Say it per second and per turn."""
        per_second = self.turns / self.wall_s
        return f"{per_second:8,.0f} turns/s  {1e6 * self.cpu_s / self.turns:6.0f} us CPU a turn"


@contextmanager
def stopwatch() -> Iterator[Callable[[int], Cost]]:
    """Measure from here to where the result is asked for."""
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    yield lambda turns: Cost(turns, time.perf_counter() - wall_s, time.process_time() - cpu_s)


def journal(folder: Path, concurrency: int, turns: list[Interaction]) -> Cost:
    """Append through the journal, as the engine does."""

    async def run() -> Cost:
        records = Records(folder, SystemClock(), SEGMENT_BYTES)
        await records.open()
        rest = iter(turns)

        async def session() -> None:
            for turn in rest:
                await records.append(turn)

        with stopwatch() as cost:
            await asyncio.gather(*(session() for _ in range(concurrency)))
            result = cost(len(turns))
        await records.close()
        return result

    return asyncio.run(run())


def raw(folder: Path, concurrency: int, turns: list[Interaction]) -> Cost:
    """Write the same bytes and rows, made beforehand, in groups of the same size."""
    data = DataFolder(folder)
    migrate(data.tables)
    projection = data.projection()
    groups = [_made(turns[at : at + concurrency]) for at in range(0, len(turns), concurrency)]
    fd = os.open(folder / "raw.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    with stopwatch() as cost:
        for text, rows, mark in groups:
            with projection.transaction():
                projection.insert(rows, mark)
                os.write(fd, text)
                os.fdatasync(fd)
        result = cost(len(turns))
    os.close(fd)
    projection.connection.close()
    return result


def _made(turns: list[Interaction]) -> tuple[bytes, Rows, Mark]:
    rows, texts = Rows(), []
    for turn in turns:
        draft = Draft.of(turn)
        place = Pointer(segment="raw.jsonl", offset=0, length=len(draft.text), sha256="0" * 64)
        rows.add(draft.body, place)
        texts.append(b'{"header":"%s","body":%s}\n' % (b"0" * 260, draft.text))
    return b"".join(texts), rows, Mark("raw.jsonl", "w1", 1, 1, 1, "0" * 64)


def compare(root: Path, concurrency: int, count: int) -> None:
    """Measure both, in turns, and print the best of each."""
    costs: dict[str, list[Cost]] = {"raw": [], "journal": []}
    for number in range(RUNS):
        turns = [make_turn() for _ in range(count)]
        for name, work in (("raw", raw), ("journal", journal)):
            folder = root / f"{name}-{concurrency}-{number}"
            folder.mkdir()
            costs[name].append(work(folder, concurrency, turns))
    for name, found in costs.items():
        print(f"{concurrency:4} at once  {name:8} {min(found, key=lambda cost: cost.cpu_s)}")


def look_back(folder: DataFolder) -> None:
    """Measure verify and rebuild on what a run wrote, and print the best of each."""
    found: dict[str, list[Cost]] = {"verify": [], "rebuild": []}
    for _ in range(RUNS):
        for name, work in (("verify", audit), ("rebuild", rebuild)):
            with stopwatch() as cost:
                found[name].append(cost(work(folder).records))
    for name, costs in found.items():
        per_s = max(cost.turns / cost.cpu_s for cost in costs)
        print(f"{name:8} {per_s:,.0f} records per CPU second")
    if faults := audit(folder).faults:
        raise SystemExit(f"{len(faults)} faults")


def main() -> None:
    """Measure everything."""
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None) as name:
        root = Path(name)
        line = len(Draft.of(make_turn()).text)
        print(
            f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, "
            f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; bodies of {line} bytes"
        )
        for concurrency, count in CONCURRENCY.items():
            compare(root, concurrency, count)
        look_back(DataFolder(root / f"journal-{max(CONCURRENCY)}-0"))


if __name__ == "__main__":
    main()
