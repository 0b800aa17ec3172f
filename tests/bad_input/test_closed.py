"""What guards the keys and the log is broken or switched off: the server closes, never opens."""

import asyncio
from pathlib import Path

import pytest

from coe_core.testing.upstream import Upstream

from .test_process import Served, serving, small, told

REFUSED = (503, "service_unavailable")


async def until(server: Served, status: int, key: str | None = None) -> None:
    """Ask until the answer is the expected one: a switch is followed within a second."""
    async with asyncio.timeout(5):
        while (await server.ask(key, model="small")).status_code != status:
            pass


@pytest.mark.parametrize(
    "broken", ["[plugins.keys]\npeper = 'x'\n", "[plugins.keys]\nenabled = false\n"]
)
async def test_keys_that_nothing_reads_let_nobody_in(tmp_path: Path, broken: str) -> None:
    async with Upstream() as upstream:
        settings = small(upstream.url)
        async with serving(tmp_path, settings) as server:
            key = await server.coe("keys", "create")
        async with serving(tmp_path, settings + broken) as server:
            for shown in (None, key):
                assert told(await server.ask(shown, model="small")) == REFUSED
            assert (await server.client.get("/healthz")).status_code == 200
        assert not upstream.received


async def test_keys_that_are_switched_off_let_nobody_in_until_they_are_on(tmp_path: Path) -> None:
    async with Upstream() as upstream, serving(tmp_path, small(upstream.url)) as server:
        key = await server.coe("keys", "create")
        await server.coe("plugins", "disable", "keys")
        await until(server, 503, key)
        await server.coe("plugins", "enable", "keys")
        await until(server, 200, key)
        assert len(upstream.received) == 1


@pytest.mark.parametrize("broken", ["segmnt_bytes = 1\n", "enabled = false\n"])
async def test_no_turn_is_taken_where_nothing_keeps_the_log(tmp_path: Path, broken: str) -> None:
    async with Upstream() as upstream:
        settings = small(upstream.url)
        async with serving(tmp_path, settings) as server:
            assert (await server.ask(model="small")).status_code == 200
        async with serving(tmp_path, f"{settings}[plugins.records]\n{broken}") as server:
            assert told(await server.ask(model="small")) == REFUSED
        assert len(upstream.received) == 1


async def test_no_turn_is_taken_while_the_log_is_switched_off(tmp_path: Path) -> None:
    async with Upstream() as upstream, serving(tmp_path, small(upstream.url)) as server:
        await server.coe("plugins", "disable", "records")
        await until(server, 503)
        await server.coe("plugins", "enable", "records")
        await until(server, 200)


async def test_a_fresh_deployment_whose_records_are_misspelt_takes_no_turn(tmp_path: Path) -> None:
    async with Upstream() as upstream:
        settings = small(upstream.url) + "[plugins.records]\nsegmnt_bytes = 1\n"
        async with serving(tmp_path, settings) as server:
            assert told(await server.ask(model="small")) == REFUSED
        assert not upstream.received
