"""What only the whole program shows: real processes, real keys, the real model, killed for real."""

import asyncio
import contextlib
import os
import re
import select
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
from coe_models_local.pull import pull

from coe_core.testing.upstream import Script, Upstream

PROGRAM = (sys.executable, "-c", "from coe_core.cli import main; main()")
CHAT = "/v1/chat/completions"
HELLO = {"messages": [{"role": "user", "content": "Hello"}]}
STORY = {"messages": [{"role": "user", "content": "Tell me a story."}], "stream": True}


def small(url: str) -> str:
    """Settings with one model, at an upstream."""
    model = f'provider = "openai"\nmodel = "m"\nbase_url = "{url}"\n'
    return f'[models.small]\n{model}[routing]\ndefault = "small"\n'


class Served(NamedTuple):
    """`coe serve` in a folder of its own."""

    folder: Path
    process: Process
    client: httpx.AsyncClient

    async def ask(self, key: str | None = None, **body: Any) -> httpx.Response:
        return await self.client.post(CHAT, json=HELLO | body, headers=bearer(key))

    async def coe(self, *arguments: str) -> str:
        """Run a command beside the server."""
        command = await asyncio.create_subprocess_exec(
            *PROGRAM, *arguments, cwd=self.folder, stdout=PIPE, stderr=PIPE
        )
        out, err = await command.communicate()
        assert command.returncode == 0, err.decode()
        return out.decode().strip()


@contextlib.asynccontextmanager
async def serving(folder: Path, settings: str) -> AsyncIterator[Served]:
    (folder / "coe.toml").write_text(settings, encoding="utf-8")
    process = await asyncio.create_subprocess_exec(
        *PROGRAM, "serve", "--port", "0", cwd=folder, stdout=PIPE
    )
    try:
        assert process.stdout is not None
        url = (await process.stdout.readline()).decode().split()[-1]
        async with httpx.AsyncClient(base_url=url, timeout=60) as client:
            yield Served(folder, process, client)
        if process.returncode is None:
            process.terminate()
            assert await process.wait() == 0
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.communicate()


def bearer(key: str | None) -> dict[str, str]:
    return {} if key is None else {"authorization": f"Bearer {key}"}


def told(response: httpx.Response) -> tuple[int, str]:
    """Check that an error says something; returns its status and code."""
    error = response.json()["error"]
    assert error["message"]
    assert error["request_id"] == response.headers["x-request-id"]
    return response.status_code, error["code"]


async def test_keys_missing_unknown_too_low_of_another_group_and_revoked(tmp_path: Path) -> None:
    async with Upstream() as upstream:
        settings = small(upstream.url) + '[groups."연구"]\n'
        async with serving(tmp_path, settings) as server:
            assert (await server.ask(model="small")).status_code == 200
            ours, theirs, low = [
                await server.coe("keys", "create", "--group", group, "--role", role)
                for group, role in (("연구", "member"), ("default", "member"), ("연구", "viewer"))
            ]
            assert told(await server.ask(model="small")) == (401, "invalid_api_key")
            assert told(await server.ask(ours[:-1], model="small")) == (401, "invalid_api_key")
            assert told(await server.ask(low, model="small")) == (403, "forbidden")
            asked = {"model": "small", "input": "안녕"}
            answer = await server.client.post("/v1/responses", json=asked, headers=bearer(ours))
            path = f"/v1/responses/{answer.json()['id']}"
            for key, status in ((ours, 200), (theirs, 404)):
                seen = await server.client.get(path, headers=bearer(key))
                assert seen.status_code == status
            await server.coe("keys", "revoke", ours.split("_")[1])
            async with asyncio.timeout(1):
                while (refused := await server.ask(ours, model="small")).status_code == 200:
                    pass
            assert told(refused) == (401, "invalid_api_key")
            assert (await server.ask(theirs, model="small")).status_code == 200


@pytest.fixture(scope="module")
def bundled_model() -> None:
    pull(print)


@pytest.mark.usefixtures("bundled_model")
async def test_the_models_process_is_killed_while_it_answers_and_while_it_rests(
    tmp_path: Path,
) -> None:
    # Else the answer would go on where it was cut.
    async with serving(tmp_path, "[plugins.fallback]\nenabled = false\n") as server:
        stream = server.client.stream("POST", CHAT, json=STORY | {"model": "local"})
        async with stream as response:
            lines = response.aiter_lines()
            assert "data: {" in await anext(lines)
            await kill_child(server.process)
            rest = [line async for line in lines if line]
        assert '"code":"model_crashed"' in rest[-1]
        for _ in range(2):
            answered = await server.ask(model="local", max_tokens=2)
            assert answered.status_code == 200
            await kill_child(server.process)


async def kill_child(process: Process) -> None:
    """Kill the process that the model runs in, and wait until it is gone."""
    child = child_of(process.pid)
    descriptor = os.pidfd_open(child)
    try:
        os.kill(child, signal.SIGKILL)
        ended, _, _ = await asyncio.to_thread(select.select, [descriptor], [], [], 10)
        assert ended
    finally:
        os.close(descriptor)


def child_of(pid: int) -> int:
    threads = Path(f"/proc/{pid}/task").glob("*/children")
    children = [child for thread in threads for child in thread.read_text().split()]
    (found,) = [c for c in children if b"local" in Path(f"/proc/{c}/cmdline").read_bytes()]
    return int(found)


async def test_after_a_kill_the_log_is_whole_and_the_call_that_was_cut_is_in_it(
    tmp_path: Path,
) -> None:
    async with Upstream() as upstream:
        upstream.say(Script(), Script(hang_after=2))
        settings = small(upstream.url)
        async with serving(tmp_path, settings) as server:
            assert (await server.ask(model="small")).status_code == 200
            stream = server.client.stream("POST", CHAT, json=STORY | {"model": "small"})
            async with stream:
                server.process.kill()
                await server.process.wait()
        async with serving(tmp_path, settings) as server:
            assert (await server.ask(model="small")).status_code == 200
            verified = await server.coe("records", "verify")
        assert re.fullmatch(r"3 records in \d segments, 0 faults", verified)


async def test_rates_and_budgets_that_are_used_up(tmp_path: Path) -> None:
    async with Upstream() as upstream:
        model = f'provider = "openai"\nmodel = "m"\nbase_url = "{upstream.url}"\n'
        settings = (
            f"[models.dear]\n{model}price = {{ input = 1, output = 1 }}\n"
            f"[models.free]\n{model}price = {{ input = 0 }}\n"
            '[routing]\ndefault = "free"\n'
            "[groups.default]\nrpm = 3\nbudget_usd_month = 0.000001\n"
        )
        async with serving(tmp_path, settings) as server:
            assert told(await server.ask(model="dear")) == (429, "insufficient_quota")
            left = [(await server.ask(model="free")).headers for _ in range(2)]
            assert [h["x-ratelimit-remaining-requests"] for h in left] == ["1", "0"]
            refused = await server.ask(model="free")
        assert told(refused) == (429, "rate_limit_exceeded")
        assert int(refused.headers["retry-after"]) > 0
