"""Kill whole servers under load, over and over, and see that they kept what clients saw end.

`python -m tests.faults.outage FOLDER ...` prints what it saw as JSON; the seed replays the choices
made here, though not the kernel's. With `--server` and the address of a Postgres, each data folder
has a schema of its own there.
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
from contextlib import suppress
from pathlib import Path

import aiohttp
import loguru
from attrs import define, field
from coe_records.folder import DataFolder
from coe_records.log import Log

from coe_core.codec import decode
from coe_core.testing.postgres import new_schema
from coe_core.testing.upstream import Script, Upstream

from .inspection import Heard, violations
from .serving import Client, Server, Stable, settings_for
from .sweep import fresh

KILLS_A_FOLDER = 10
CLIENTS = 12
SCRIPT = Script(words=("Good", " day", ", how", " are", " you"), pause_s=0.001)


@define
class Outages:
    """Kills servers, and looks at what they left."""

    root: Path
    chance: random.Random
    workers: int
    stable: Stable
    upstream: Upstream
    server: str | None = None
    records: DataFolder = field(init=False)
    seen: Counter[str] = field(factory=Counter)
    violations: list[str] = field(factory=list)
    begun: set[str] = field(factory=set)
    ended: dict[str, str] = field(factory=dict)
    calls_before: int = 0
    slowest_start_s: float = 0.0

    async def run(self, kills: int) -> None:
        """Kill, and look, so many times."""
        for number in range(kills):
            folder = self.root / f"{self.workers}-{number // KILLS_A_FOLDER}"
            if number % KILLS_A_FOLDER == 0:
                self._begin(folder)
            await self._kill_under_load(folder)
            if number % KILLS_A_FOLDER == KILLS_A_FOLDER - 1 or number == kills - 1:
                await self._look(folder)

    def _begin(self, folder: Path) -> None:
        fresh(folder)
        server, more = self.server and new_schema(self.server), ""
        if server:
            (folder / "server").write_text(server)
            more = '[plugins.records]\ndatabase = "file:server"\n'
        (folder / "coe.toml").write_text(settings_for(self.upstream.url, more))
        self.records = DataFolder(folder / "coe-data", server)
        self.begun, self.ended = set(), {}
        self.calls_before = len(self.upstream.received)

    async def _kill_under_load(self, folder: Path) -> None:
        server = await self._start(folder)
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
            client = Client(server.url, session)
            asking = [asyncio.create_task(self._ask(client)) for _ in range(CLIENTS)]
            wanted = self.chance.choice([0, 1, self.chance.randrange(60)])
            while len(client.ended) < wanted:
                await asyncio.sleep(0.001)
            await asyncio.sleep(self.chance.random() * 0.02)
            await self._strike(server)
            await server.gone()
            for task in asking:
                task.cancel()
            await asyncio.gather(*asking, return_exceptions=True)
        self.begun |= client.begun
        self.ended |= client.ended
        self.seen += Counter(kills=1, ended=len(client.ended), begun=len(client.begun))

    async def _strike(self, server: Server) -> None:
        """Kill all of it; sometimes one worker, or the parent, a moment before."""
        if self.workers > 1 and self.chance.random() < 0.5:
            victim = self.chance.choice([server.pid, *server.workers()])
            with suppress(ProcessLookupError):
                os.kill(victim, signal.SIGKILL)
            self.seen["one_before"] += 1
            await asyncio.sleep(self.chance.random() * 0.05)
        with suppress(ProcessLookupError):
            server.kill()

    async def _ask(self, client: Client) -> None:
        while True:
            text = f"{self.chance.getrandbits(64):x}"
            await client.ask(text, streams=self.chance.random() < 0.5)
            await asyncio.sleep(0)

    async def _start(self, folder: Path) -> Server:
        began_s = time.perf_counter()
        server = await self.stable.serve(folder, self.workers)
        self.slowest_start_s = max(self.slowest_start_s, time.perf_counter() - began_s)
        return server

    async def _look(self, folder: Path) -> None:
        server = await self._start(folder)
        faults = await self.stable.verify(folder)
        server.kill()
        await server.gone()
        found = [f"verify: {fault}" for fault in faults]
        found += violations(self.records, Heard(frozenset(self.ended)), more=True)
        answers = dict(answers_in(self.records))
        found += [
            f"not what the client saw: {turn}"
            for turn, text in self.ended.items()
            if turn in answers and answers[turn] != text
        ]
        calls, booked = len(self.upstream.received) - self.calls_before, attempts_in(self.records)
        if booked < calls:
            found.append(f"{calls} calls of the upstream, {booked} attempts in the ledger")
        self.seen += Counter(calls=calls, attempts=booked)
        self.violations += [f"{folder.name}: {each}" for each in found]


def answers_in(folder: DataFolder) -> list[tuple[str, str]]:
    """Read the answers in the log."""
    log = Log(folder.events)
    bodies = [
        decode(entry.line.body)
        for path in log.segments()
        for entry in log.entries(path)
        if entry.line and entry.line.kind == "interaction"
    ]
    return [(b["id"], b["answer"][0]["content"]) for b in bodies if b.get("answer")]


def attempts_in(folder: DataFolder) -> int:
    """Count the attempts in the database."""
    connection = folder.tables.connect(writable=False)
    try:
        return int(connection.execute("SELECT count(*) FROM attempts").fetchone()[0])
    finally:
        connection.close()


async def main() -> None:
    """Kill."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--kills", type=int, required=True)
    parser.add_argument("--workers", type=int, required=True)
    parser.add_argument("--server", help="a Postgres to have the tables in")
    options = parser.parse_args()
    loguru.logger.remove()
    async with Stable.open() as stable, Upstream(default=SCRIPT) as upstream:
        chance = random.Random(options.seed)
        outages = Outages(options.folder, chance, options.workers, stable, upstream, options.server)
        await outages.run(options.kills)
    told = {**outages.seen, "slowest_start_s": round(outages.slowest_start_s, 3)}
    json.dump({**told, "violations": outages.violations}, sys.stdout)


if __name__ == "__main__":
    asyncio.run(main())
