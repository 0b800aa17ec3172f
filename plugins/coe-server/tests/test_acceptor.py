"""All who wait to be connected are, whatever else the loop has to do."""

import asyncio
import os
import resource
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import ModuleType
from typing import cast

import coe_server.acceptor
import pytest
import uvloop
from coe_server.acceptor import Acceptor

CLIENTS = 100


class Greeting(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        greeter = cast("asyncio.WriteTransport", transport)
        greeter.write(b"hello")
        greeter.close()


@contextmanager
def waiting_clients(count: int) -> Iterator[tuple[socket.socket, list[socket.socket]]]:
    """A socket that listens, and clients that the kernel has connected to it."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=count))
        address = listener.getsockname()
        yield (
            listener,
            [stack.enter_context(socket.create_connection(address)) for _ in range(count)],
        )


@pytest.mark.parametrize("loops", [asyncio, uvloop], ids=["asyncio", "uvloop"])
def test_takes_all_who_wait_within_a_few_rounds(loops: ModuleType) -> None:
    greeted: list[Greeting] = []

    def greet() -> Greeting:
        greeted.append(Greeting())
        return greeted[-1]

    async def count_rounds(listener: socket.socket) -> int:
        acceptor = Acceptor(listener, greet)
        rounds = 0
        while len(greeted) < CLIENTS:
            await asyncio.sleep(0)
            rounds += 1
        acceptor.close()
        return rounds

    with (
        waiting_clients(CLIENTS) as (listener, _),
        asyncio.Runner(loop_factory=loops.new_event_loop) as runner,
    ):
        assert runner.run(count_rounds(listener)) < CLIENTS / 4


def test_nobody_is_taken_once_it_is_closed() -> None:
    async def accept(listener: socket.socket) -> None:
        Acceptor(listener, Greeting).close()
        await asyncio.sleep(0.01)

    with waiting_clients(1) as (listener, [client]):
        asyncio.run(accept(listener))
        with pytest.raises(ConnectionResetError):
            client.recv(5)


def test_goes_on_once_there_are_descriptors_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coe_server.acceptor, "PAUSE_S", 0.001)

    async def accept(listener: socket.socket, client: socket.socket) -> bytes:
        client.settimeout(0)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        free = os.dup(listener.fileno())
        os.close(free)
        resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
        try:
            acceptor = Acceptor(listener, Greeting)
            while not acceptor.is_paused:
                await asyncio.sleep(0)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        told = await asyncio.get_running_loop().sock_recv(client, 5)
        acceptor.close()
        return told

    with waiting_clients(1) as (listener, [client]):
        assert asyncio.run(accept(listener, client)) == b"hello"
