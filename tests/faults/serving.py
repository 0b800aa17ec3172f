"""`coe serve` in a folder, an upstream behind it, and clients that remember what they saw."""

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
from attrs import define, field, frozen

ROOT = Path(__file__).parents[2]
CHAT = "/v1/chat/completions"


@define
class Stable:
    """Starts programs: see `stable.py`."""

    _process: Process

    @classmethod
    @asynccontextmanager
    async def open(cls) -> AsyncIterator["Stable"]:
        """Have everything imported once."""
        command = [sys.executable, "-m", "tests.faults.stable"]
        process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdin=PIPE, stdout=PIPE)
        try:
            yield cls(process)
        finally:
            process.kill()
            await process.communicate()

    async def start(self, folder: Path, *arguments: str) -> int:
        """Start `coe` in a folder; returns its process id, which is that of its group as well."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([str(folder), arguments]).encode() + b"\n")
        return int(await self._process.stdout.readline())

    async def serve(self, folder: Path, workers: int = 1) -> "Server":
        """Start a server, and wait until it serves."""
        (folder / "out").unlink(missing_ok=True)
        pid = await self.start(folder, "serve", "--port", "0", "--workers", str(workers))
        said = await until_printed(folder, "CoE serves on ", pid)
        return Server(pid, said.split("CoE serves on ")[1].split()[0])

    async def verify(self, folder: Path) -> list[Any]:
        """Let `coe records verify` look, and return the faults that it finds."""
        (folder / "out").unlink(missing_ok=True)
        pid = await self.start(folder, "records", "verify", "--json")
        return list(json.loads(await until_printed(folder, "}\n", pid))["faults"])


async def until_printed(folder: Path, text: str, pid: int) -> str:
    """Wait until a program has printed some text. Raises `RuntimeError` if it ends before."""
    while True:
        alive = is_alive(pid)
        said = printed(folder, "out")
        if text in said:
            return said
        if not alive:
            raise RuntimeError(said + printed(folder, "err"))
        await asyncio.sleep(0.005)


def is_alive(pid: int) -> bool:
    """Whether there is such a process."""
    return Path(f"/proc/{pid}").exists()


def printed(folder: Path, name: str) -> str:
    """Read what a program has printed so far."""
    path = folder / name
    return path.read_text() if path.exists() else ""


@frozen
class Server:
    """A server that runs."""

    pid: int
    url: str

    def kill(self) -> None:
        """Kill it, and all of its workers, at once."""
        os.killpg(self.pid, signal.SIGKILL)

    def workers(self) -> list[int]:
        """List the processes that serve: its children, or else itself."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        return [int(child) for child in children] or [self.pid]

    async def gone(self) -> None:
        """Wait until no process of it is left."""
        while True:
            try:
                os.killpg(self.pid, 0)
            except ProcessLookupError:
                return
            await asyncio.sleep(0.002)


@define
class Client:
    """Asks, and remembers: which turns it saw begin, and which answers it saw end."""

    url: str
    session: aiohttp.ClientSession
    begun: set[str] = field(factory=set)
    ended: dict[str, str] = field(factory=dict)
    """Turn to answer."""
    refused: list[tuple[int, str]] = field(factory=list)
    """Status and code of each error."""

    async def ask(self, text: str, *, streams: bool, **more: Any) -> str | None:
        """Ask; returns the turn if an answer was begun."""
        messages = [{"role": "user", "content": text}]
        body = {"model": "small", "messages": messages, "stream": streams, **more}
        try:
            async with self.session.post(self.url + CHAT, json=body) as response:
                turn = response.headers.get("x-coe-turn")
                if response.status != 200:
                    error = (await response.json())["error"]
                    self.refused.append((response.status, error["code"]))
                    return turn
                assert turn is not None
                self.begun.add(turn)
                await (self._stream if streams else self._whole)(turn, response)
                return turn
        except (aiohttp.ClientError, ConnectionError):
            return None

    async def _whole(self, turn: str, response: aiohttp.ClientResponse) -> None:
        choice = (await response.json())["choices"][0]
        self.ended[turn] = choice["message"]["content"]

    async def _stream(self, turn: str, response: aiohttp.ClientResponse) -> None:
        text = ""
        async for line in response.content:
            if not line.startswith(b"data: {"):
                continue
            frame = json.loads(line[6:])
            if "error" in frame:
                self.refused.append((200, frame["error"]["code"]))
                return
            for choice in frame["choices"]:
                text += choice["delta"].get("content") or ""
                if choice["finish_reason"] is not None:
                    self.ended[turn] = text


def settings_for(url: str, more: str = "") -> str:
    """Make settings with one priced model at an upstream."""
    return (
        f'[models.small]\nprovider = "openai"\nmodel = "m"\nbase_url = "{url}"\n'
        "price = { input = 1, output = 10 }\n"
        f'[routing]\ndefault = "small"\n{more}'
    )
