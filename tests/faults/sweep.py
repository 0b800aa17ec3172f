"""Let something happen to each call of the operating system in turn, and see what is left.

`LD_PRELOAD=disk.so python -m tests.faults.sweep FOLDER ...` prints what it saw as JSON. With the
address of a Postgres the tables are there, and what is asked of it is among the calls. It forks a
process for each case, so it has one thread only.
"""

import argparse
import asyncio
import errno
import json
import os
import random
import shutil
import sys
import time
import traceback
from collections import Counter
from pathlib import Path

import alembic.command
import coe_records.journal
import coe_records.postgres
import coe_records.reader
import loguru
from coe_records.folder import DataFolder

from coe_core.testing.postgres import new_schema

from .inspection import Heard, recover, violations
from .scenario import Life
from .shim import Fault, Shim
from .tables import make_away

# Loaded before the fork, not in each process.
LOADED = (alembic.command, coe_records.journal, coe_records.postgres, coe_records.reader)


def run(
    shim: Shim, folder: DataFolder, seed: int, first: int, lasts: int, how: tuple[int, Fault]
) -> str:
    """Live in a child, and return what it said."""
    receiving, sending = os.pipe()
    if (child := os.fork()) == 0:
        os.close(receiving)
        code = 1
        try:
            shim.watch(folder.path)
            if folder.server is not None:
                shim.watch_server()
            life = Life(folder, seed, lambda text: os.write(sending, f"{text}\n".encode()))
            shim.strike(first, first + lasts - 1, *how)
            asyncio.run(life.live(lambda: shim.calls >= first + lasts))
            os.write(sending, b"calls %d\n" % shim.calls)
            code = 0
        except BaseException:
            os.write(sending, f"raised {traceback.format_exc()!r}\n".encode())
        finally:
            os._exit(code)
    os.close(sending)
    text = b""
    while more := os.read(receiving, 1 << 16):
        text += more
    os.close(receiving)
    os.waitpid(child, 0)
    return text.decode()


def main() -> None:
    """Sweep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--fault", choices=Fault.__members__, required=True)
    parser.add_argument("--error", choices=["EIO", "ENOSPC", "EROFS", "EDQUOT"], default="EIO")
    parser.add_argument("--lasts", type=int, default=1, help="how many calls in a row")
    parser.add_argument("--cases", type=int, help="so many, by chance; all if not given")
    parser.add_argument("--only", type=int, action="append", help="strike this call")
    parser.add_argument("--server", help="a Postgres to have the tables in")
    options = parser.parse_args()
    loguru.logger.remove()
    shim, how = Shim(), (getattr(errno, options.error), Fault[options.fault])
    chance, seen, wrong = random.Random(options.seed), Counter[str](), list[str]()
    folder = DataFolder(options.folder / "case", options.server and new_schema(options.server))
    calls = count_calls(shim, folder, options.seed)
    cases = options.only or range(calls)
    if options.cases is not None:
        cases = chance.sample(range(calls), options.cases)
    for first in cases:
        begin(folder)
        told = run(shim, folder, options.seed, first, options.lasts, how).splitlines()
        heard = Heard.of(line for line in told if line.startswith(("turn ", "refused ")))
        wrong += [f"call {first}: {line}" for line in told if line.startswith("raised")]
        if told[-1:] and told[-1].startswith("calls") and told[-2].startswith("refused"):
            wrong.append(f"call {first}: it did not go on by itself")
        began_s = time.perf_counter()
        recover(folder)
        seen["slowest_recovery_us"] = max(
            seen["slowest_recovery_us"], int((time.perf_counter() - began_s) * 1e6)
        )
        # Who dies may have written a turn, and not yet said so.
        found = violations(folder, heard, more=how[1] in (Fault.DIES, Fault.DIES_TORN))
        wrong += [f"call {first}: {each}" for each in found]
        seen += Counter(cases=1, acknowledged=len(heard.turns), refused=len(heard.refused))
    json.dump({**seen, "calls": calls, "violations": wrong}, sys.stdout)


def count_calls(shim: Shim, folder: DataFolder, seed: int) -> int:
    """Tell how many calls there are when nothing happens to any."""
    begin(folder)
    told = run(shim, folder, seed, -1, 1, (0, Fault.FAILS))
    return int(told.splitlines()[-1].split()[1])


def begin(folder: DataFolder) -> None:
    """Begin on an empty folder, and on no tables."""
    fresh(folder.path)
    if folder.server is not None:
        make_away(folder.server)


def fresh(folder: Path) -> Path:
    """Make an empty folder."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


if __name__ == "__main__":
    main()
