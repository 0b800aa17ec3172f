"""The process in which a chat model runs: `python -m coe_models_local.child SPEC SOCKET_FD`.

It is apart so that a crash in native code takes no server with it. All server processes of a
machine share it. It ends when the last of them is gone, however that one ended.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from attrs import define, field

from coe_models_local.frame import LIMIT_BYTES, Frame, pack, read
from coe_models_local.llama import Llama
from coe_models_local.slot import Lease, Slots
from coe_models_local.spec import Spec

LINGER_S = 3.0
"""How long the process waits for a new client after the last one has gone, if its model loaded."""


@define
class Child:
    """Serves one model to any number of connections."""

    spec: Spec
    _slots: Slots = field(init=False)
    _pool: ThreadPoolExecutor = field(init=False)
    _loading: asyncio.Future[Llama] = field(init=False)
    _alone: asyncio.Event = field(factory=asyncio.Event, init=False)
    _clients: int = field(default=0, init=False)
    _timer: asyncio.TimerHandle | None = field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        """Begin to load at once: whoever started the process has a request."""
        loop = asyncio.get_running_loop()
        self._slots = Slots.of(self.spec.slots)
        self._pool = ThreadPoolExecutor(self.spec.slots)
        self._loading = loop.run_in_executor(self._pool, Llama, self.spec)
        self._loading.add_done_callback(_ignore_signals)

    async def serve(self, listener: socket.socket) -> None:
        """Serve until nobody is left."""
        await asyncio.start_unix_server(self._connected, sock=listener, limit=LIMIT_BYTES)
        self._count(0)
        await self._alone.wait()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._count(+1)
        try:
            with suppress(ConnectionError):
                await self._converse(reader, writer)
        finally:
            writer.close()
            self._count(-1)

    def _count(self, change: int) -> None:
        self._clients += change
        if self._timer is not None:
            self._timer.cancel()
        if not self._clients:
            loop = asyncio.get_running_loop()
            is_useless = self._loading.done() and self._loading.exception() is not None
            self._timer = loop.call_later(0 if is_useless else LINGER_S, self._alone.set)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            llama = await asyncio.shield(self._loading)
        except RuntimeError as error:
            writer.write(pack({"error": {"type": "load_error", "message": str(error)}}))
            return
        hello = {"pid": os.getpid(), "takes_tools": llama.takes_tools}
        writer.write(pack({"hello": hello}))
        if (request := await read(reader)) is None:
            return
        answer = asyncio.create_task(self._answer(llama, request, writer))
        # Nothing more is ever sent: what can be read is the end of the connection.
        gone = asyncio.create_task(reader.read(1))
        await asyncio.wait([answer, gone], return_when=asyncio.FIRST_COMPLETED)
        gone.cancel()
        answer.cancel()
        with suppress(asyncio.CancelledError):
            await answer

    async def _answer(self, llama: Llama, request: Frame, writer: asyncio.StreamWriter) -> None:
        async with self._slots.take(request["group"]) as lease:
            try:
                await self._generate(llama, _placed(request["body"], lease), writer)
                writer.write(pack({"end": True}))
            except ValueError as error:
                writer.write(pack({"error": _error("invalid_request_error", error)}))
            except RuntimeError as error:
                writer.write(pack({"error": _error("server_error", error)}))
            await writer.drain()

    async def _generate(self, llama: Llama, body: Frame, writer: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        chunks: asyncio.Queue[Frame | None] = asyncio.Queue()
        cancelled = threading.Event()

        def on_chunk(chunk: Frame) -> bool:
            loop.call_soon_threadsafe(chunks.put_nowait, chunk)
            return cancelled.is_set()

        running = loop.run_in_executor(self._pool, llama.generate, body, on_chunk)
        running.add_done_callback(lambda _: chunks.put_nowait(None))
        try:
            while (chunk := await chunks.get()) is not None:
                if "error" in chunk:
                    writer.write(pack(chunk))
                elif "prompt_progress" not in chunk:
                    writer.write(pack({"chunk": chunk}))
                await writer.drain()
        finally:
            cancelled.set()
            # The slot is free only when the native code has let go of it.
            await running


def _placed(body: Frame, lease: Lease) -> Frame:
    # A seed promises the same answer again, which reading from a cache would not always give.
    cached = lease.is_warm and "seed" not in body
    return {**body, "id_slot": lease.number, "cache_prompt": cached}


def _error(kind: str, error: Exception) -> Frame:
    return {"type": kind, "message": str(error)}


def _ignore_signals(_: object) -> None:
    """Let the servers end their turns when a service manager signals all processes at once.

    llama.cpp has just set handlers of its own, which would stop every answer.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


async def _main(spec: Spec, listener: socket.socket) -> None:
    await Child(spec).serve(listener)


if __name__ == "__main__":
    asyncio.run(_main(Spec(**json.loads(sys.argv[1])), socket.socket(fileno=int(sys.argv[2]))))
    # Without the interpreter's own end, which would wait for native threads.
    os._exit(0)
