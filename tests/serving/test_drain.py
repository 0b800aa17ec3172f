"""SIGTERM while a turn runs, on the process itself."""

import asyncio
import contextlib
import signal
import sys
from asyncio.subprocess import PIPE
from pathlib import Path

import httpx
import pytest

from coe_core.testing.upstream import Script, Upstream

PROGRAM = (sys.executable, "-c", "from coe_core.cli import main; main()", "serve", "--port", "0")
BODY = {"model": "small", "messages": [{"role": "user", "content": "Hello"}], "stream": True}


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_the_turn_ends_whole_and_no_other_begins(tmp_path: Path, workers: str) -> None:
    async with Upstream() as upstream:
        upstream.say(Script(words=("Good ", "day"), hang_after=2))
        settings = f'[models.small]\nprovider = "openai"\nmodel = "m"\nbase_url = "{upstream.url}"'
        (tmp_path / "coe.toml").write_text(f'{settings}\n[routing]\ndefault = "small"\n')
        process = await asyncio.create_subprocess_exec(
            *PROGRAM, "--workers", workers, cwd=tmp_path, stdout=PIPE
        )
        assert process.stdout is not None
        url = (await process.stdout.readline()).decode().split()[-1]
        async with (
            httpx.AsyncClient(base_url=url, timeout=20) as client,
            client.stream("POST", "/v1/chat/completions", json=BODY) as response,
        ):
            lines = response.aiter_lines()
            assert '"content":"Good "' in await anext(lines)
            process.send_signal(signal.SIGTERM)
            await until_draining(client)
            refused = await client.post("/v1/chat/completions", json=BODY)
            upstream.release()
            rest = [line async for line in lines if line]
        assert await process.wait() == 0
        await process.communicate()
    assert refused.status_code == 503
    assert refused.headers["connection"] == "close"
    assert refused.json()["error"]["code"] == "service_unavailable"
    assert rest[-1] == "data: [DONE]"
    assert len(upstream.received) == 1


async def until_draining(client: httpx.AsyncClient) -> None:
    async with asyncio.timeout(10):
        while True:
            # A worker that has nothing to do ends, and with it a connection that it just took.
            with contextlib.suppress(httpx.TransportError):
                if (await client.get("/readyz")).status_code == 503:
                    return
