"""An operator switches the last resort on and off under load, from the command line and over HTTP:
no turn is lost or doubled, and the switch is in the record.
"""

import asyncio
import json
import sys
from asyncio.subprocess import PIPE
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from operator import itemgetter
from pathlib import Path
from typing import Any

import httpx
import pytest
from attrs import define, field

from coe_core.testing.upstream import Received, Script, Upstream

COE = (sys.executable, "-c", "from coe_core.cli import main; main()")
WORDS = ("The ", "last ", "resort ", "answers ", "whole.")
WHOLE = "".join(WORDS)
CLIENTS = 4
IN_A_ROW = 10
"""So many answers alike, on connections of their own, and every worker has followed."""


def respond(asked: Received) -> Script:
    if asked.path.startswith("/rescue"):
        return Script(words=WORDS, pause_s=0.002)
    place = len(asked.body) % (4 if asked.streams else 2)
    return Script(words=("so ", "far "), cut_after=place, pause_s=0.002)


SETTINGS = """
[models.main]
provider = "openai"
model = "m"
base_url = "{root}/main/v1"
[models.rescue]
provider = "openai"
model = "m"
base_url = "{root}/rescue/v1"
[routing]
default = "main"
[plugins.fallback]
openai = "rescue"
retries = 0
[plugins.openai]
[coe]
required_plugins = ["fallback", "records"]
"""


@asynccontextmanager
async def serving(folder: Path, root: str) -> AsyncIterator[str]:
    (folder / "coe.toml").write_text(SETTINGS.format(root=root))
    process = await asyncio.create_subprocess_exec(
        *COE, "serve", "--port", "0", "--workers", "2", cwd=folder, stdout=PIPE
    )
    assert process.stdout is not None
    try:
        yield (await process.stdout.readline()).decode().split()[-1]
    finally:
        process.terminate()
        await process.communicate()


@define
class Clients:
    """Ask without a pause, each question once, and note how it was answered."""

    url: str
    answers: dict[str, str] = field(factory=dict)
    asked: int = 0
    stopped: bool = False

    async def ask(self, http: httpx.AsyncClient) -> str:
        self.asked += 1
        question = f"question {self.asked} {'?' * (self.asked % 4)}"
        body = {
            "model": "auto",
            "stream": self.asked % 3 > 0,
            "messages": [{"role": "user", "content": question}],
        }
        response = await http.post(f"{self.url}/v1/chat/completions", json=body)
        self.answers[question] = told(response)
        return self.answers[question]

    async def run(self) -> None:
        async with httpx.AsyncClient(timeout=30) as http:
            while not self.stopped:
                await self.ask(http)

    async def all_follow(self, *, on: bool) -> None:
        """Wait until every worker does as it was switched."""
        alike = 0
        async with asyncio.timeout(60):
            while alike < IN_A_ROW:
                async with httpx.AsyncClient(timeout=30) as http:
                    answer = await self.ask(http)
                alike = alike + 1 if answer.endswith("whole.") is on else 0


def told(response: httpx.Response) -> str:
    """Read the text of a whole answer, or "failed" of one that says that it failed."""
    if not response.headers["content-type"].startswith("text/event-stream"):
        body = response.json()
        if response.status_code != 200:
            assert body["error"]["code"].startswith("upstream_"), body
            return "failed"
        return str(body["choices"][0]["message"]["content"])
    lines = [line.removeprefix("data: ") for line in response.text.split("\n\n") if line]
    lines = [line for line in lines if not line.startswith(":")]
    if lines[-1] != "[DONE]":
        assert json.loads(lines[-1])["error"]["code"].startswith("upstream_"), lines
        return "failed"
    frames = [json.loads(line) for line in lines[:-1]]
    assert frames[-1]["choices"][0]["finish_reason"] == "stop"
    return "".join(frame["choices"][0]["delta"].get("content", "") for frame in frames)


async def by_command(folder: Path, _: str, *, on: bool) -> None:
    word = "on" if on else "off"
    process = await asyncio.create_subprocess_exec(*COE, "fallback", word, cwd=folder, stdout=PIPE)
    assert await process.wait() == 0
    await process.communicate()


async def by_request(_: Path, url: str, *, on: bool) -> None:
    async with httpx.AsyncClient(timeout=30) as http:
        wanted = {"fallback_to_openai": on}
        response = await http.put(f"{url}/coe/v1/fallback", json=wanted)
        assert response.status_code == 200, response.text


def recorded(folder: Path) -> list[Any]:
    """Read the bodies of the log, of every worker."""
    lines = [
        json.loads(line)
        for file in sorted((folder / "coe-data" / "events").rglob("*.jsonl"))
        for line in file.read_text(encoding="utf-8").splitlines()
    ]
    return [line for line in lines if "body" in line]


@pytest.mark.parametrize("switch", [by_command, by_request], ids=["command", "http"])
async def test_no_turn_is_lost_or_doubled(tmp_path: Path, switch: Any, tally: Counter[str]) -> None:
    async with (
        Upstream(respond=respond) as upstream,
        serving(tmp_path, upstream.url.removesuffix("/v1")) as url,
    ):
        clients = Clients(url)
        running = [asyncio.create_task(clients.run()) for _ in range(CLIENTS)]
        for on in (True, False, True):
            await switch(tmp_path, url, on=on)
            await clients.all_follow(on=on)
        clients.stopped = True
        await asyncio.gather(*running)
    assert set(clients.answers.values()) <= {"failed", WHOLE, f"so {WHOLE}", f"so far {WHOLE}"}
    log = recorded(tmp_path)
    turns = [line["body"] for line in log if line["kind"] == "interaction"]
    told_of = Counter(turn["new_messages"][0]["content"] for turn in turns)
    assert told_of == dict.fromkeys(clients.answers, 1)
    for turn in turns:
        answer = clients.answers[turn["new_messages"][0]["content"]]
        outcome = turn["outcome"]
        assert (outcome["status"] == "failed") == (answer == "failed")
        if outcome["status"] == "success":
            assert turn["answer"][0]["content"] == answer
            assert outcome["failure"] == "fallback_used"
            assert outcome["error_code"].startswith("upstream_")
    changes = [line["body"] for line in log if line["kind"] == "state_change"]
    changes.sort(key=itemgetter("at"))  # each was recorded by the worker that it reached
    assert [change["value"] for change in changes] == [True, False, True]
    assert {change["key"] for change in changes} == {"params/fallback_to_openai"}
    assert all(change["actor"] for change in changes)
    tally["turns while an operator switched, none lost or doubled"] += len(turns)
