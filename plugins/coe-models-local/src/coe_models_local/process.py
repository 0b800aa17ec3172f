"""The process of a chat model, as the server sees it: started when needed, shared, replaced when
it has died.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import attrs
from attrs import define, field
from loguru import logger

from coe_core.error import (
    CoeError,
    ContextTooLong,
    MissingModel,
    ModelCrashed,
    UpstreamError,
    UpstreamRejected,
)
from coe_models_local.folder import runtime_folder
from coe_models_local.frame import LIMIT_BYTES, Frame, pack, read
from coe_models_local.spec import Spec


@define
class Line:
    """A connection to the process."""

    spec: Spec
    log: Path
    _reader: asyncio.StreamReader
    _writer: asyncio.StreamWriter
    pid: int = field(default=0, init=False)
    """The process's, once it has greeted."""
    takes_tools: bool = field(default=False, init=False)
    """Whether the model's template has a place for tools."""

    async def is_greeted(self) -> bool:
        """Wait until the model is loaded; False when the process is gone."""
        match await read(self._reader):
            case {"hello": hello}:
                self.pid, self.takes_tools = hello["pid"], hello["takes_tools"]
                return True
            case {"error": error}:
                raise self._refusal(error)
            case _:
                return False

    async def ask(self, group: str, body: Frame) -> AsyncGenerator[Frame, None]:
        """Send the request, and yield the chunks of its answer."""
        self._writer.write(pack({"group": group, "body": body}))
        while True:
            match await read(self._reader):
                case {"chunk": chunk}:
                    yield chunk
                case {"error": error}:
                    raise self._refusal(error)
                case {"end": True}:
                    return
                case _:
                    raise self.crash("while it answered")

    @property
    def is_dead(self) -> bool:
        """Whether the process is gone."""
        return self._reader.at_eof() or self._reader.exception() is not None

    async def hang_up(self) -> None:
        """Close the connection."""
        self._writer.close()
        with suppress(ConnectionError):
            await self._writer.wait_closed()

    def crash(self, when: str) -> ModelCrashed:
        """Make the error for a process that died."""
        logger.bind(pid=self.pid, model=self.spec.path, log=str(self.log)).warning(
            "the process of a local model died; its last words are in the log"
        )
        return ModelCrashed(
            f"the process of the local model died {when}; it is started again for the next request"
        )

    def _refusal(self, error: Frame) -> CoeError:
        message = error["message"]
        match error["type"]:
            case "load_error":
                return MissingModel(
                    f"llama.cpp cannot load {Path(self.spec.path).name}: {message} The file may be "
                    "damaged, or of a kind that this version does not know; `coe models check` "
                    "examines the bundled one"
                )
            case "exceed_context_size_error":
                return ContextTooLong(
                    f"the prompt has {error['n_prompt_tokens']} tokens, the model takes "
                    f"{error['n_ctx']}: shorten it, or choose a model with more context",
                    param="messages",
                )
            case "invalid_request_error":
                return UpstreamRejected(f"the local model cannot take this request: {message}")
            case _:
                return UpstreamError(f"the local model failed: {message}")


@define
class ChatProcess:
    """One model's process. Equal specs on a machine have the same one, for each user."""

    spec: Spec
    _hold: Line | None = field(default=None, init=False)
    _holding: asyncio.Lock = field(factory=asyncio.Lock, init=False)

    @asynccontextmanager
    async def line(self) -> AsyncIterator[Line]:
        """Open a line for one request; leaving it cancels the request.

        Raises `MissingModel` when the model cannot be loaded, `ModelCrashed` when the process dies.
        """
        line = await self._greeted()
        try:
            await self._keep_alive()
            yield line
        finally:
            await line.hang_up()

    async def close(self) -> None:
        """Let go of the process, which ends unless another server uses it."""
        if self._hold is not None:
            await self._hold.hang_up()
            self._hold = None

    async def _greeted(self) -> Line:
        # Twice, because the process may have been about to end for want of clients.
        for _ in range(2):
            line = await self._reach()
            try:
                if await line.is_greeted():
                    return line
            except BaseException:
                await line.hang_up()
                raise
            await line.hang_up()
        raise line.crash("while it loaded")

    async def _keep_alive(self) -> None:
        """Hold a connection between requests, without which the process would end."""
        async with self._holding:
            if self._hold is None or self._hold.is_dead:
                await self.close()
                self._hold = await self._reach()

    async def _reach(self) -> Line:
        path = self._path("sock")
        try:
            connection = await asyncio.open_unix_connection(path, limit=LIMIT_BYTES)
        except (FileNotFoundError, ConnectionError):
            await asyncio.to_thread(self._start)
            connection = await asyncio.open_unix_connection(path, limit=LIMIT_BYTES)
        return Line(self.spec, self._path("log"), *connection)

    def _start(self) -> None:
        """Start the process, unless another server does at this moment."""
        with self._path("lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            path = self._path("sock")
            if not _answers(path):
                path.unlink(missing_ok=True)
                with socket.socket(socket.AF_UNIX) as listener:
                    listener.bind(str(path))
                    listener.listen()
                    # The socket exists before the process does: nobody has to wait for it.
                    self._spawn(listener)

    def _spawn(self, listener: socket.socket) -> None:
        spec = json.dumps(attrs.asdict(self.spec))
        command = [
            sys.executable,
            "-P",
            "-m",
            "coe_models_local.child",
            spec,
            str(listener.fileno()),
        ]
        with self._path("log").open("wb") as log:
            process = subprocess.Popen(  # noqa: S603 -- this very interpreter
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=[listener.fileno()],
                # Spinning threads would take from the server what they wait for.
                env={**os.environ, "OMP_WAIT_POLICY": "passive"},
                # Ctrl-C in a terminal is for the server, whose turns may still need the model.
                start_new_session=True,
            )
        threading.Thread(target=process.wait, name="reap", daemon=True).start()

    def _path(self, suffix: str) -> Path:
        state = Path(self.spec.path).stat()
        # A file that was replaced is another model.
        identity = [attrs.astuple(self.spec), state.st_ino, state.st_size, state.st_mtime_ns]
        digest = hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:16]
        return runtime_folder() / f"chat-{digest}.{suffix}"


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0
