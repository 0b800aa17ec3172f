"""One process that serves: uvicorn around the gateway, and the way it ends."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import socket
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from types import FrameType

import uvicorn
from uvicorn.loops.auto import auto_loop_factory

from coe_core.application import Application
from coe_core.error import StartRefused
from coe_core.host import Host
from coe_server.acceptor import Acceptor
from coe_server.admission import is_loopback
from coe_server.gateway import Gateway
from coe_server.protocol import Protocol
from coe_server.settings import Settings

BACKLOG = 2048
YOUNG_OBJECTS = 10_000
"""So many are made before the collector looks for cycles among them: about a dozen turns."""
GRACE_S = 5.0
"""For what was aborted to write its record."""


class Server(uvicorn.Server):
    """uvicorn's server, which at SIGTERM and Ctrl-C first lets the running turns end.

    Meanwhile it goes on listening, so that newcomers get a clear refusal and not a dead port.
    """

    def __init__(self, gateway: Gateway, ready: Callable[[], None]) -> None:
        """Serve the gateway; `ready` is called when it does."""
        super().__init__(configuration(gateway))
        self._gateway = gateway
        self._ready = ready
        self.acceptors: list[Acceptor] = []
        self._drained_by_s = 0.0

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to accept."""
        await super().startup([])
        self.acceptors = [Acceptor(listener, self._protocol) for listener in sockets or ()]
        self._ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept nothing more, and end what runs."""
        for acceptor in self.acceptors:
            acceptor.close()
        await super().shutdown(sockets)

    def _protocol(self) -> asyncio.Protocol:
        config = self.config
        return config.http_protocol_class(  # type: ignore[call-arg]
            config=config, server_state=self.server_state, app_state=self.lifespan.state
        )

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second: see whether a drain has ended."""
        if self._gateway.draining:
            overdue_s = time.monotonic() - self._drained_by_s
            if overdue_s >= 0:
                self._gateway.abort()
            self.should_exit = self._gateway.idle or overdue_s >= GRACE_S
        return await super().on_tick(counter)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to drain; a second Ctrl-C ends at once."""
        del frame
        if self._gateway.draining and sig == signal.SIGINT:
            self._drained_by_s = -GRACE_S
        elif not self._gateway.draining:
            self._gateway.draining = True
            self._drained_by_s = time.monotonic() + self._gateway.settings.drain_timeout_s


def configuration(gateway: Gateway) -> uvicorn.Config:
    """Configure uvicorn: nothing that we do not use, and our own protocol."""
    settings = gateway.settings
    return uvicorn.Config(
        gateway,
        http=partial(Protocol, settings=settings),  # type: ignore[arg-type]
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        log_level="critical",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=settings.idle_timeout_s,
        timeout_graceful_shutdown=1,
        backlog=BACKLOG,
    )


def listen(host: str, port: int) -> socket.socket:
    """Take the port before anything else is begun. Raises `StartRefused`."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with contextlib.ExitStack() as undo:
            listener = undo.enter_context(socket.socket(family, kind, protocol))
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(BACKLOG)
            undo.pop_all()
    except OSError as error:
        raise StartRefused(
            f"cannot listen on {host} port {port}: {error.strerror}; "
            "choose another with --host and --port"
        ) from error
    return listener


def serve(
    open_host: Callable[[], AbstractAsyncContextManager[Host]],
    settings: Settings,
    listener: socket.socket,
    tell: Callable[[Application], None],
) -> None:
    """Serve until a signal ends it; `tell` is called as soon as requests are taken.

    Raises `StartRefused`, or what else stops the host.
    """
    with asyncio.Runner(loop_factory=auto_loop_factory()) as runner:
        runner.run(_serve(open_host, settings, listener, tell))


async def _serve(
    open_host: Callable[[], AbstractAsyncContextManager[Host]],
    settings: Settings,
    listener: socket.socket,
    tell: Callable[[Application], None],
) -> None:
    async with open_host() as host:
        if not is_loopback(settings.host) and not host.application.wants_keys:
            raise StartRefused(
                f"{settings.host} can be reached from other machines, and no key exists: "
                "make one with `coe keys create`, or serve on 127.0.0.1"
            )
        await host.work()
        # What was composed stays: it need not be looked through again and again for what does not.
        gc.collect()
        gc.freeze()
        gc.set_threshold(YOUNG_OBJECTS)
        server = Server(Gateway(host.lease, settings), lambda: tell(host.application))
        await server.serve(sockets=[listener])
