"""Kill writers at random moments, over and over, and see that nothing acknowledged is lost.

`python killing.py FOLDER --seed N --cycles N [--server ADDRESS]` prints what it saw as JSON; the
seed replays the choices made here, though not the kernel's. With the address of a Postgres, each
folder has a schema of its own there. It forks, so it has one thread only.
"""

import argparse
import asyncio
import json
import os
import random
import shutil
import signal
import sys
import time
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

import alembic.command
import coe_records.journal
import coe_records.postgres
import coe_records.reader
import loguru
from attrs import define, field
from coe_records.audit import audit
from coe_records.folder import DataFolder
from coe_records.log import Log
from coe_records.records import Records
from coe_records.writer import Writer

from coe_core.clock import SystemClock
from coe_core.codec import decode
from coe_core.identity import SessionId, TurnId, uuid7
from coe_core.ledger import Intent
from coe_core.message import assistant, user
from coe_core.model import Usage
from coe_core.record import Interaction
from coe_core.settings import Secret
from coe_core.testing import make_attempt, make_interaction
from coe_core.testing.postgres import new_schema
from coe_core.turn import Outcome

# Loaded before the fork, not in each worker.
LOADED = (alembic.command, coe_records.journal, coe_records.postgres, coe_records.reader)

SESSIONS = 16
SEGMENT_BYTES = 200_000
CYCLES_A_FOLDER = 10


def make_turn(session: str, chance: random.Random) -> Interaction:
    now, turn_id = SystemClock().now(), TurnId(uuid7())
    attempt = make_attempt(
        started_at=now,
        usage=Usage(input_tokens=10, output_tokens=5),
    )
    return make_interaction(
        id=turn_id,
        group="research",
        session=SessionId(session),
        started_at=now,
        new_messages=(user("질문 " * chance.randrange(200)),),
        attempts=(attempt,),
        answer=(assistant("answer " * chance.randrange(400)),),
        outcome=Outcome(status="success", finish_reason="stop"),
    )


def address_file(folder: DataFolder) -> Path:
    """Tell which file the settings of a folder name, which has its Postgres's address."""
    return folder.path.with_suffix(".server")


async def load(folder: DataFolder, seed: int, report: int) -> None:
    """Write turns for ever, and tell of each that is acknowledged, and of each intent before."""
    server = Secret(f"file:{address_file(folder)}") if folder.server else None
    records = Records(folder.path, SystemClock(), SEGMENT_BYTES, server)
    await records.open()

    async def session(number: int) -> None:
        chance = random.Random(f"{seed}/{number}")
        while True:
            turn = make_turn(f"s{number}", chance)
            for attempt in turn.attempts:
                records.intend(
                    Intent(
                        attempt_id=attempt.id,
                        owner_id=turn.id,
                        group=turn.group,
                        model=attempt.model,
                        purpose=attempt.purpose,
                        reserved_usd=Decimal("0.01"),
                        at=turn.started_at,
                    )
                )
                os.write(report, b"intent %s\n" % attempt.id.encode())
            await records.append(turn)
            os.write(report, b"turn %s\n" % turn.id.encode())

    await asyncio.gather(*map(session, range(SESSIONS)))


class Heard(NamedTuple):
    turns: set[str]
    attempts: set[str]


@define
class Killer:
    """Starts workers, and kills them."""

    root: Path
    chance: random.Random
    server: str | None = None
    folder: DataFolder = field(init=False)
    heard: Heard = field(factory=lambda: Heard(set(), set()), init=False)
    violations: list[str] = field(factory=list, init=False)
    seen: Counter[str] = field(factory=Counter, init=False)

    def run(self, cycles: int) -> None:
        for cycle in range(cycles):
            if cycle % CYCLES_A_FOLDER == 0:
                self.begin(self.root / str(cycle // CYCLES_A_FOLDER))
            self.kill(self.folder, workers=self.chance.choice([1, 1, 2, 3]))
            if self.chance.random() < 0.7:  # Else the next workers recover, at the same time.
                self.inspect(self.folder)
        self.inspect(self.folder)

    def begin(self, path: Path) -> None:
        self.heard = Heard(set(), set())
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir(parents=True)
        self.folder = DataFolder(path, self.server and new_schema(self.server))
        address_file(self.folder).write_text(self.folder.server or "")

    def kill(self, folder: DataFolder, workers: int) -> None:
        receiving, sending = os.pipe()
        children = []
        for _ in range(workers):
            seed = self.chance.randrange(1 << 30)
            if (child := os.fork()) == 0:
                os.close(receiving)
                asyncio.run(load(folder, seed, sending))
                os._exit(1)
            children.append(child)
        os.close(sending)
        wanted = self.chance.choice([0, 1, self.chance.randrange(60)])
        text = b""
        while text.count(b"turn ") < wanted:
            text += os.read(receiving, 1 << 16)
        time.sleep(self.chance.random() * 0.02)
        for child in children:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        while more := os.read(receiving, 1 << 16):
            text += more
        os.close(receiving)
        self.seen += Counter(kills=workers, acknowledged=text.count(b"turn "))
        for line in text.decode().splitlines():
            what, name = line.split()
            (self.heard.turns if what == "turn" else self.heard.attempts).add(name)

    def inspect(self, folder: DataFolder) -> None:
        Writer.open(folder, SystemClock(), segment_bytes=SEGMENT_BYTES).close()
        self.violations += [str(fault) for fault in audit(folder).faults]
        log = Log(folder.events)
        bodies = Counter(
            decode(entry.line.body)["id"]
            for path in log.segments()
            for entry in log.entries(path)
            if entry.line and entry.line.kind == "interaction"
        )
        connection = folder.tables.connect(writable=False)
        turns = {row[0] for row in connection.execute("SELECT id FROM interactions")}
        attempts = {row[0] for row in connection.execute("SELECT id FROM attempts")}
        connection.close()
        self.blame("lost from the log", self.heard.turns - bodies.keys())
        self.blame("lost from the database", self.heard.turns - turns)
        self.blame("more than once", {turn for turn, count in bodies.items() if count > 1})
        self.blame("of unknown cost", self.heard.attempts - attempts)

    def blame(self, what: str, names: set[str]) -> None:
        self.violations += [f"{what}: {name}" for name in sorted(names)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--cycles", type=int, required=True)
    parser.add_argument("--server", help="a Postgres to have the tables in")
    options = parser.parse_args()
    loguru.logger.remove()
    killer = Killer(options.folder, random.Random(options.seed), options.server)
    killer.run(options.cycles)
    json.dump({**killer.seen, "violations": killer.violations}, sys.stdout)


if __name__ == "__main__":
    main()
