"""What `coe doctor` finds out about the port."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from coe_server.check import ANSWER_S, PortCheck
from coe_server.routes import ROUTES
from coe_server.settings import Settings

from coe_core.testing import CheckContract


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@pytest.fixture
def taken() -> Iterator[int]:
    """A port on which something listens, and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


class TestContract(CheckContract):
    def make(self) -> PortCheck:
        return PortCheck(Settings(port=0))


async def test_a_free_port() -> None:
    port = free_port()
    finding = await PortCheck(Settings(port=port)).check()
    assert finding.ok
    assert finding.text == f"127.0.0.1 port {port} is free"
    socket.create_server(("127.0.0.1", port)).close()  # it still is


async def test_a_port_that_the_system_chooses() -> None:
    finding = await PortCheck(Settings(port=0)).check()
    assert finding.ok
    assert finding.text == "127.0.0.1: the system chooses a free port"


async def test_a_coe_that_runs_there(serve: Any) -> None:
    async with serve(*ROUTES) as server:
        finding = await PortCheck(Settings(port=server.port)).check()
    assert finding.ok
    assert finding.text == f"127.0.0.1 port {server.port}: a CoE serves there"


async def test_a_coe_that_drains(serve: Any) -> None:
    async with serve(*ROUTES) as server:
        server.gateway.draining = True
        assert (await PortCheck(Settings(port=server.port)).check()).ok


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nOK",
        b'HTTP/1.1 200 OK\r\nx-request-id: 1\r\ncontent-length: 15\r\n\r\n{"status":"ok"}',
        b"SSH-2.0-synthetic\r\n",
        b"",
    ],
)
async def test_another_program_there(far_side: Any, answer: bytes) -> None:
    port = await far_side(answer)
    finding = await PortCheck(Settings(port=port)).check()
    assert not finding.ok
    assert f"127.0.0.1 port {port}" in finding.text
    assert "in use" in finding.text
    assert "[plugins.server]" in finding.mend


async def test_a_program_that_says_nothing(taken: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("coe_server.check.ANSWER_S", 0.05)
    assert ANSWER_S < 30  # what the doctor gives a check
    assert not (await PortCheck(Settings(port=taken)).check()).ok


async def test_an_address_that_is_not_this_machines() -> None:
    finding = await PortCheck(Settings(host="192.0.2.1", port=1)).check()
    assert not finding.ok
    assert "192.0.2.1" in finding.text


@pytest.fixture
async def far_side() -> AsyncIterator[Any]:
    """Another server: `port = await far_side(BYTES)` answers every connection with them."""
    servers = []

    async def start(answer: bytes) -> int:
        async def say(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(answer)
            await writer.drain()
            writer.close()

        servers.append(await asyncio.start_server(say, "127.0.0.1", 0))
        return int(servers[-1].sockets[0].getsockname()[1])

    yield start
    for server in servers:
        server.close()
        await server.wait_closed()
