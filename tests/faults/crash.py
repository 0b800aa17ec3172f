"""Write down what a process changes on the disk, and recover from what a power cut may leave of it.

`LD_PRELOAD=disk.so python -m tests.faults.crash FOLDER ...` prints what it saw as JSON. With the
address of a Postgres the tables are there, on another machine, as it were, whose power stays on.
"""

import argparse
import asyncio
import json
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Lock
from typing import Any

import loguru
import psycopg
from attrs import define, field
from coe_records.folder import DataFolder
from coe_records.migration import migrate
from psycopg.pq import TransactionStatus

from coe_core.testing.postgres import new_schema

from .inspection import Heard, recover, violations
from .power import Image, Power, digest, lay_out
from .scenario import Life
from .shim import Fault, Shim
from .sweep import begin, fresh
from .tables import Kept, keep, kept_by, put_back
from .tape import Event, read

BEFORE = ("nothing", "empty tables", "a life", "a crash")
"""What was in the folder before."""
IMAGES_A_LIFE = 1000
ALL_OF = 5
"""With so many things that may be there or not, every combination is tried."""
SECTORS = (512, 4096)
TABLES = "tables "
"""What a mark begins with that tells what a server's tables hold."""


def live(
    shim: Shim, folder: DataFolder, seed: int, tape: Path | None, dies_at: int = -1
) -> list[str]:
    """Live in a child; returns what it said. Half of the lives meet a fault."""
    receiving, sending = os.pipe()
    if (child := os.fork()) == 0:
        chance = random.Random(seed)

        def tell(text: str) -> None:
            shim.mark(text)
            os.write(sending, f"{text}\n".encode())

        try:
            if tape is not None:
                shim.record(os.open(tape, os.O_WRONLY | os.O_CREAT | os.O_APPEND))
                if folder.server is not None:
                    keep_each(folder.server, shim.mark)
            shim.watch(folder.path)
            if dies_at >= 0:
                shim.strike(dies_at, dies_at, 0, Fault.DIES_TORN)
            elif chance.random() < 0.5:
                shim.strike(*fault_by(chance))
            asyncio.run(Life(folder, seed, tell).live())
        finally:
            os._exit(0)
    os.close(sending)
    os.waitpid(child, 0)
    with os.fdopen(receiving, "rb") as pipe:
        return pipe.read().decode().splitlines()


def keep_each(server: str, mark: Callable[[str], None]) -> None:
    """Mark from now on what is in the tables, each time that a session has changed it. Meanwhile
    the session has no answer, so that nobody can tell that it was earlier.
    """
    ours, lock, wait = psycopg.connect(server, autocommit=True), Lock(), psycopg.Connection.wait
    before: Kept = {}

    def wait_and_keep(session: psycopg.Connection, *arguments: Any) -> Any:
        nonlocal before
        answer = wait(session, *arguments)
        if session is not ours and session.info.transaction_status == TransactionStatus.IDLE:
            with lock:
                if (now := keep(ours)) != before:
                    mark(f"{TABLES}{json.dumps(now)}")
                    before = now
        return answer

    psycopg.Connection.wait = wait_and_keep


def fault_by(chance: random.Random) -> tuple[int, int, int, Fault]:
    """Choose a fault: the disk is full, or fails, for some calls."""
    first, lasts = chance.randrange(50, 300), chance.choice([1, 2, 8])
    error, fault = chance.choice([(28, Fault.TEARS), (5, Fault.FAILS), (5, Fault.FAILS_LATE)])
    return first, first + lasts - 1, error, fault


def prepare(shim: Shim, folder: DataFolder, before: str, seed: int) -> list[str]:
    """Put in the folder what was there before, all of it durable; returns whose turns it has."""
    match before:
        case "empty tables":
            migrate(folder.tables)
        case "a life":
            return live(shim, folder, seed, None)
        case "a crash":
            return live(shim, folder, seed, None, dies_at=random.Random(seed).randrange(60, 300))
    return []


def images(
    events: list[Event], power: Power, chance: random.Random, count: int, kept: Kept
) -> Iterator[tuple[list[str], Kept, Image]]:
    """Cut the power at each moment; yields what the process had said, what a server's tables hold,
    and what is left on the disk.
    """
    said: list[str] = []
    for number, event in enumerate(events):
        if event.kind == "A" and event.path.startswith(TABLES):
            kept = json.loads(event.path.removeprefix(TABLES))
        elif event.kind == "A":
            said.append(event.path)
            continue
        else:
            power.take(event)
        quota = count * (number + 1) // len(events) - count * number // len(events)
        if power.units <= ALL_OF:
            for image in power.images():
                yield list(said), kept, image
        for _ in range(quota):
            likelihood = chance.choice([0.0, 0.1, 0.5, 0.5, 0.9, 1.0])
            yield list(said), kept, power.image(chance, likelihood, chance.choice(SECTORS))


@define
class Trial:
    """Recovers from images, each once."""

    folder: Path
    server: str | None
    chance: random.Random
    seen: Counter[str] = field(factory=Counter)
    violations: list[str] = field(factory=list)
    _digests: set[bytes] = field(factory=set)

    def face(self, image: Image, kept: Kept, before: list[str], said: list[str]) -> None:
        """Recover from an image, and see that all that was said is there."""
        self.seen["images"] += 1
        known = digest(image) + repr((said, kept)).encode()
        if known in self._digests:
            return
        self._digests.add(known)
        self.seen["distinct"] += 1
        folder = DataFolder(fresh(self.folder / "image"), self.server)
        lay_out(image, folder.path)
        if self.server is not None:
            put_back(self.server, kept)
        try:
            recover(folder)
            wrong = violations(folder, Heard.of([*before, *said]), more=True)
        except Exception as error:
            wrong = [f"raised {error!r}"]
        if wrong:
            spoilt = fresh(self.folder / f"image-{self.seen['distinct']}")
            lay_out(image, spoilt)
            spoilt.with_suffix(".tables").write_text(json.dumps(kept))
            self.violations += [f"{spoilt.name}: {each}" for each in wrong]


def main() -> None:
    """Record, cut, recover."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--images", type=int, required=True)
    parser.add_argument("--before", choices=BEFORE, required=True)
    parser.add_argument("--minutes", type=float, default=60, help="begin no life after them")
    parser.add_argument("--forgets", action="store_true", help="a disk that syncs nothing")
    parser.add_argument("--server", help="a Postgres to have the tables in")
    options = parser.parse_args()
    server = options.server and new_schema(options.server)
    until_s = time.monotonic() + 60 * options.minutes
    loguru.logger.remove()
    shim, seen, wrong = Shim(), Counter[str](), list[str]()
    for seed in range(options.seed, options.seed + -(-options.images // IMAGES_A_LIFE)):
        trial = Trial(options.folder, server, random.Random(seed))
        count = min(options.images, IMAGES_A_LIFE)
        lead_and_lose(shim, trial, options.before, count, forgets=options.forgets)
        seen += trial.seen
        wrong += [f"seed {seed}: {each}" for each in trial.violations]
        if time.monotonic() > until_s:
            break
    json.dump({**seen, "violations": wrong}, sys.stdout)


def lead_and_lose(shim: Shim, trial: Trial, before: str, count: int, *, forgets: bool) -> None:
    """Write down one life, and recover from so many images of it."""
    lived, seed = DataFolder(trial.folder / "lived", trial.server), trial.chance.getrandbits(32)
    begin(lived)
    said_before = prepare(shim, lived, before, seed + 1)
    power, tape, kept = Power.of(lived.path), trial.folder / "tape", kept_by(trial.server)
    tape.unlink(missing_ok=True)
    live(shim, lived, seed, tape)
    events = [event for event in read(tape) if not (forgets and event.kind == "S")]
    trial.seen += Counter(lives=1, events=len(events))
    for said, then, image in images(events, power, trial.chance, count, kept):
        trial.face(image, then, said_before, said)


if __name__ == "__main__":
    main()
