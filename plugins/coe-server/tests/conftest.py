"""Servers to test: with routes of the test's own, or with a whole deployment behind them."""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, NamedTuple

import pytest
from attrs import evolve
from coe_server.gateway import Gateway
from coe_server.server import Server, listen
from coe_server.settings import Settings

from coe_core.application import Application
from coe_core.http import HttpRoute
from coe_core.settings import Settings as Deployment


class Running(NamedTuple):
    """A server that answers."""

    port: int
    gateway: Gateway
    server: Server
    task: "asyncio.Task[None]"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def stop(self) -> None:
        self.server.handle_exit(signal.SIGTERM, None)

    async def raw(self, request: bytes) -> tuple[bytes, bytes]:
        """Send bytes and read to the end of the connection; returns head and body."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(request)
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        writer.close()
        return head, body


@contextlib.asynccontextmanager
async def running(lease: Any, settings: Settings) -> AsyncIterator[Running]:
    """Serve on a free port until the block ends."""
    listener = listen("127.0.0.1", 0)
    accepting = asyncio.Event()
    gateway = Gateway(lease, settings)
    server = Server(gateway, accepting.set)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    await accepting.wait()
    try:
        yield Running(listener.getsockname()[1], gateway, server, task)
    finally:
        server.should_exit = server.force_exit = True
        await task


def bare(routes: Sequence[HttpRoute], **components: Any) -> Application:
    """An application of routes alone."""
    empty = Application(
        settings=Deployment(), plugins=(), problems=(), services={}, models={}, parameters={}
    )
    return evolve(empty, http_routes=tuple(routes), **components)


Serve = Callable[..., contextlib.AbstractAsyncContextManager[Running]]


@pytest.fixture
def serve() -> Serve:
    """Serve routes: `async with serve(route, ..., settings=..., authenticators=...) as server`.

    `held` tells of the application's leases.
    """

    def start(
        *routes: HttpRoute,
        settings: Settings | None = None,
        held: list[str] | None = None,
        **components: Any,
    ) -> contextlib.AbstractAsyncContextManager[Running]:
        application = bare(routes, **components)

        @contextlib.asynccontextmanager
        async def lease() -> AsyncIterator[Application]:
            if held is not None:
                held.append("leased")
            yield application
            if held is not None:
                held.append("returned")

        return running(lease, settings or Settings())

    return start
