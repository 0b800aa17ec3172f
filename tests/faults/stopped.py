"""Stop a writer while it holds the log, and see that the others refuse, and then go on.

`python -m tests.faults.stopped FOLDER --seed N --stops N` prints what it saw as JSON. It forks, so
it has one thread only until then.
"""

import argparse
import asyncio
import json
import os
import random
import signal
import sys
import time
from collections import Counter
from pathlib import Path

import loguru
from coe_records import writer as work
from coe_records.folder import DataFolder
from coe_records.lock import try_lock_path

from coe_core.clock import SystemClock

from .inspection import Heard, recover, violations
from .scenario import Life
from .sweep import fresh

PATIENCE_S = 0.2


def write_on(folder: Path, seed: int) -> tuple[int, int]:
    """Write turns in a child until it is killed; returns it, and what it says."""
    receiving, sending = os.pipe()
    if (child := os.fork()) == 0:
        life = Life(DataFolder(folder), seed, lambda text: os.write(sending, f"{text}\n".encode()))
        asyncio.run(life.live(lambda: False))
    os.close(sending)
    return child, receiving


def stop_with_the_lock(child: int, folder: DataFolder, chance: random.Random) -> None:
    """Stop it at a moment when it holds the lock."""
    while True:
        time.sleep(chance.random() * 0.02)
        os.kill(child, signal.SIGSTOP)
        os.waitpid(child, os.WUNTRACED)
        if (lock := try_lock_path(folder.lock)) is None:
            return
        os.close(lock)
        os.kill(child, signal.SIGCONT)


def main() -> None:
    """Stop, and go on."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--stops", type=int, required=True)
    options = parser.parse_args()
    loguru.logger.remove()
    seen, wrong = Counter[str](), list[str]()
    for number in range(options.stops):
        found = stop_once(options.folder, random.Random(f"{options.seed}/{number}"), number, seen)
        wrong += [f"stop {number}: {each}" for each in found]
    json.dump({**seen, "violations": wrong}, sys.stdout)


def stop_once(root: Path, chance: random.Random, seed: int, seen: Counter[str]) -> list[str]:
    """Stop one writer beside another; returns what is wrong."""
    folder = DataFolder(fresh(root / "stopped"))
    recover(folder)
    work.LOCK_S = PATIENCE_S
    child, receiving = write_on(folder.path, seed)
    stop_with_the_lock(child, folder, chance)
    said: list[str] = []
    asyncio.run(Neighbour(folder, chance, said).write_beside(child))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    with os.fdopen(receiving, "rb") as pipe:
        theirs = pipe.read().decode().splitlines()
    recover(folder)
    seen += Counter(
        stops=1, refused=sum(line.startswith("refused") for line in said), acknowledged=len(theirs)
    )
    found = violations(folder, Heard.of([*theirs, *said]), more=True)
    if not any(line.startswith("refused") for line in said):
        found.append("nothing was refused")
    if not said[-1].startswith("turn"):
        found.append("it did not go on by itself")
    return found


class Neighbour(Life):
    """Writes beside a writer that is stopped."""

    def __init__(self, folder: DataFolder, chance: random.Random, said: list[str]) -> None:
        super().__init__(folder, chance.getrandbits(32), said.append)
        self._clock = SystemClock()  # type: ignore[assignment]
        self._said = said

    async def write_beside(self, stopped: int) -> None:
        """Be refused; then let the other go on, and write."""
        records = await self._open()
        await self._write(records, 3)
        os.kill(stopped, signal.SIGCONT)
        while not self._said[-1].startswith("turn"):
            await self._write(records, 1)
        await records.close()


if __name__ == "__main__":
    main()
