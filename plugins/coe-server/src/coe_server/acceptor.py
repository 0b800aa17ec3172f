"""Takes connections: all that wait, as soon as one does."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable

from attrs import define, field
from loguru import logger

PAUSE_S = 1.0
"""How long nothing is accepted once there is no room for more descriptors."""
EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


@define(eq=False)
class Acceptor:
    """Accepts connections to a listening socket, on the loop that runs, until it is closed.

    uvloop's own server takes one connection a round. A loop with much to do makes few rounds, so
    that clients wait in the kernel, where the gate neither sees nor refuses them.
    """

    listener: socket.socket
    make_protocol: Callable[[], asyncio.BaseProtocol]
    _loop: asyncio.AbstractEventLoop = field(factory=asyncio.get_running_loop, init=False)
    _connecting: set[asyncio.Task[None]] = field(factory=set, init=False)
    _pause: asyncio.TimerHandle | None = field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        """Begin."""
        self.listener.settimeout(0)
        self._go_on()

    def close(self) -> None:
        """Listen no more; what was accepted stays. May be called twice."""
        if self._pause is not None:
            self._pause.cancel()
        if self.is_open:
            self._loop.remove_reader(self.listener)
            self.listener.close()

    @property
    def is_open(self) -> bool:
        """Whether it listens."""
        return self.listener.fileno() >= 0

    @property
    def is_paused(self) -> bool:
        """Whether there was no room for another connection a moment ago."""
        return self._pause is not None

    def _go_on(self) -> None:
        self._pause = None
        self._loop.add_reader(self.listener, self._accept)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except BlockingIOError:
                return
            except ConnectionAbortedError:
                continue
            except OSError as error:
                if error.errno not in EXHAUSTED:
                    raise
                logger.bind(error=error.strerror).error("connections cannot be accepted")
                self._loop.remove_reader(self.listener)
                self._pause = self._loop.call_later(PAUSE_S, self._go_on)
                return
            task = self._loop.create_task(self._connect(connection))
            self._connecting.add(task)
            task.add_done_callback(self._connecting.discard)

    async def _connect(self, connection: socket.socket) -> None:
        connection.settimeout(0)
        try:
            await self._loop.connect_accepted_socket(self.make_protocol, connection)
        except OSError:  # The client has left already.
            connection.close()
