"""The disk is full, or cannot be written, while the server serves."""

import asyncio
import os
import resource
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from coe_records.folder import DataFolder

from coe_core.testing.upstream import Upstream

from .inspection import Heard, violations
from .serving import Client, Server, Stable, settings_for

SIZE_BYTES = 8 << 20
Switch = Callable[[Server, bool], None]
"""Takes the room on the disk away from a server, or gives it back."""


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[tuple[Path, Switch]]:
    """A small disk where we may mount one, else a limit on the size of files."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE_BYTES}", "none", str(folder)]
    if os.geteuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        yield folder, limit_files
        return
    try:
        yield folder, lambda _, is_full: fill(folder / "ballast", is_full=is_full)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(ballast: Path, *, is_full: bool) -> None:
    if not is_full:
        ballast.unlink()
        return
    with ballast.open("wb", buffering=0) as file:
        for size in (1 << 16, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue


def limit_files(server: Server, is_full: bool) -> None:
    limit = 16 if is_full else resource.RLIM_INFINITY
    for pid in server.workers():
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))


@asynccontextmanager
async def serving(folder: Path, upstream: Upstream) -> AsyncIterator[tuple[Stable, Server, Client]]:
    (folder / "coe.toml").write_text(settings_for(upstream.url))
    async with Stable.open() as stable, aiohttp.ClientSession() as session:
        server = await stable.serve(folder)
        yield stable, server, Client(server.url, session)


async def refusal(client: Client, *, streams: bool) -> tuple[int, str]:
    """Ask until we are refused, and return how."""
    count = len(client.refused)
    async with asyncio.timeout(60):
        while len(client.refused) == count:
            await client.ask("안녕하세요 " * 50, streams=streams)
    return client.refused[-1]


async def answered(client: Client, *, streams: bool) -> None:
    """Ask until there is an answer."""
    count = len(client.ended)
    async with asyncio.timeout(60):
        while len(client.ended) == count:
            await client.ask("Hello", streams=streams)


async def test_full_disk_refuses_turns_until_there_is_room(disk: tuple[Path, Switch]) -> None:
    folder, switch = disk
    async with Upstream() as upstream, serving(folder, upstream) as (stable, server, client):
        for _ in range(3):
            for streams in (False, True):
                await answered(client, streams=streams)
            switch(server, True)
            assert await refusal(client, streams=False) == (503, "service_unavailable")
            assert (await refusal(client, streams=True))[1] == "service_unavailable"
            await until_nobody_is_called(client, upstream)
            switch(server, False)
        await answered(client, streams=True)
        server.kill()
        await server.gone()
        again = await stable.serve(folder)
        assert await stable.verify(folder) == []
        again.kill()
        await again.gone()
    heard = Heard(frozenset(client.ended))
    assert violations(DataFolder(folder / "coe-data"), heard, more=True) == []


async def until_nobody_is_called(client: Client, upstream: Upstream) -> None:
    """Wait until a turn is refused before it costs anything: its intent finds no room either."""
    async with asyncio.timeout(60):
        while True:
            calls, told = len(upstream.received), await refusal(client, streams=True)
            if len(upstream.received) == calls:
                assert told == (503, "service_unavailable")
                return


async def test_folder_that_cannot_be_written_refuses_turns_until_it_can(tmp_path: Path) -> None:
    """Here the log's own folder, at the start: root may write wherever a disk lets it."""
    async with Upstream() as upstream, serving(tmp_path, upstream) as (stable, server, client):
        await answered(client, streams=False)
        server.kill()
        await server.gone()
        events = tmp_path / "coe-data" / "events"
        events.rename(events.with_name("kept"))
        events.touch()  # No folder, so that nobody can make a file in it, whoever it is.
        again = await stable.serve(tmp_path)
        client.url = again.url
        assert await refusal(client, streams=False) == (503, "service_unavailable")
        assert (await refusal(client, streams=True))[1] == "service_unavailable"
        events.unlink()
        events.with_name("kept").rename(events)
        await answered(client, streams=True)
        assert await stable.verify(tmp_path) == []
        again.kill()
        await again.gone()
    heard = Heard(frozenset(client.ended))
    assert violations(DataFolder(tmp_path / "coe-data"), heard, more=True) == []
