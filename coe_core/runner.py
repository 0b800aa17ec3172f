"""Runners: what works through chunks, one after the other here or side by side in other processes.

The work is written once. It is done in a process of the deployment, which has its settings, its
ledger and its budgets, whichever runner that is. What needs no deployment is spread as it is.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial
from importlib import import_module
from math import ceil
from pathlib import Path
from typing import Any, Protocol, TypeAlias
from urllib.parse import urlsplit

from attrs import frozen

from coe_core.application import Application
from coe_core.codec import decode, encode
from coe_core.error import CoeError, InvalidField, StartRefused
from coe_core.message import Json

Work: TypeAlias = Callable[[Application, Json], Awaitable[Json]]
"""A function of a module: it may be called in another process, with a deployment of its own."""

AT_ONCE = 16
"""How many chunks a `DaftRunner` hands to Daft at once, and so the most that a kill costs."""

CONNECT_S = 5.0
"""How long the head of a Ray cluster may take until it listens."""

QUIET = {"DAFT_ANALYTICS_ENABLED": "0"}
"""Else Daft tells two addresses in the net of each import and each run, from each process."""


class Runner(Protocol):
    """Runs work over chunks."""

    def run(
        self, work: Work, chunks: AsyncIterator[Json]
    ) -> AsyncIterator[tuple[Json, Json | Exception]]:
        """Yield each chunk with what came of it, or with what went wrong. Chunks are asked for as
        they are needed.
        """
        ...


class ChunkFailed(CoeError):
    """A chunk failed in another process."""

    code = "chunk_failed"


@frozen
class LocalRunner:
    """Works in this process, one chunk after the other."""

    application: Application

    async def run(
        self, work: Work, chunks: AsyncIterator[Json]
    ) -> AsyncIterator[tuple[Json, Json | Exception]]:
        """Work on them in order."""
        async for chunk in chunks:
            try:
                result: Json | Exception = await work(self.application, chunk)
            except Exception as error:
                result = error
            yield chunk, result


@frozen(kw_only=True)
class DaftRunner:
    """Works on all cores of this machine, or on a Ray cluster (`spread`).

    Each chunk is worked on in a process that opens the deployment for it. On Ray, every node has to
    see settings and data folder at the same paths.
    """

    config: Path | None
    """The settings file."""
    data_dir: Path
    ray: str | None = None
    """The address of a cluster, `ray://HOST:10001`; None for this machine."""

    def run(
        self, work: Work, chunks: AsyncIterator[Json]
    ) -> AsyncIterator[tuple[Json, Json | Exception]]:
        """Work on some at a time. Raises `StartRefused` where Daft is not installed."""
        config = self.config.absolute() if self.config is not None else None
        data_dir = self.data_dir.absolute()  # Workers may be elsewhere.
        return spread(partial(_deployed, config, data_dir, work), chunks, AT_ONCE, self.ray)


async def spread(
    work: Callable[[Json], Json], chunks: AsyncIterator[Json], at_once: int, ray: str | None
) -> AsyncIterator[tuple[Json, Json | Exception]]:
    """Have Daft (https://docs.daft.ai, 0.7) work on so many chunks at once, in processes of its own
    on this machine or on the Ray cluster of that address, whose nodes need the same packages.

    Yields as a `Runner` does. Raises `StartRefused` where Daft or Ray is not installed or no
    cluster answers, `InvalidField` for what is no address of one.
    """
    daft, waiting = _daft(), list[Json]()
    cores = await asyncio.to_thread(_connect, daft, ray) if ray is not None else at_once
    async for chunk in chunks:
        waiting.append(chunk)
        if len(waiting) == at_once:
            for pair in await asyncio.to_thread(_spread, daft, work, waiting, cores):
                yield pair
            waiting = []
    for pair in await asyncio.to_thread(_spread, daft, work, waiting, cores) if waiting else ():
        yield pair


def _daft() -> Any:
    os.environ.update(QUIET)
    try:
        import daft
    except ImportError as error:
        raise StartRefused(
            "the runner daft needs a package more: pip install 'coe-core[daft]'"
        ) from error
    return daft


def _connect(daft: Any, address: str) -> int:
    """Have Daft run on a cluster, and tell how many cores that has."""
    place = _place(address)
    try:
        ray: Any = import_module("ray")
    except ImportError as error:
        raise StartRefused("--ray needs packages more: pip install 'coe-core[ray]'") from error
    try:
        if not ray.is_initialized():  # by the job before
            _wait_for(*place)
            ray.init(address, runtime_env={"env_vars": QUIET})
            daft.set_runner_ray()
        return max(1, int(ray.cluster_resources().get("CPU", 0)))
    except OSError as error:
        raise StartRefused(
            # Without fork support off, it fails to serve now and then (ray-project/ray#63202).
            f"no Ray cluster answers at {address} ({error}); its head is started with: "
            f"GRPC_ENABLE_FORK_SUPPORT=0 ray start --head --ray-client-server-port={place[1]}"
        ) from error


def _wait_for(host: str, port: int) -> None:
    """Ray itself takes half a minute to see that nothing listens."""
    give_up_s = time.monotonic() + CONNECT_S
    while True:
        try:
            socket.create_connection((host, port), CONNECT_S).close()
        except OSError:
            if time.monotonic() > give_up_s:
                raise
            time.sleep(0.1)
        else:
            return


def _place(address: str) -> tuple[str, int]:
    try:
        url = urlsplit(address)
        host, port = url.hostname, url.port
    except ValueError:
        host = port = None
    if host is None or port is None or url.scheme != "ray":
        raise InvalidField(f"the address of a Ray cluster is ray://HOST:10001, not {address!r}")
    return host, port


def _spread(
    daft: Any, work: Callable[[Json], Json], chunks: Sequence[Json], cores: int
) -> Sequence[tuple[Json, Json | Exception]]:
    def worked(chunk: str) -> str:
        return _told(work, chunk)

    function = daft.func(worked, return_dtype=daft.DataType.string(), use_process=True)
    frame = daft.from_pydict(
        {"number": list(range(len(chunks))), "chunk": [encode(c).decode() for c in chunks]}
    )
    # On Ray each part is worked on by a process that is started for it.
    parts = frame.into_batches(ceil(len(chunks) / cores))
    results = parts.with_column("result", function(daft.col("chunk")))
    rows = results.select("number", "result").to_pydict()
    found = dict(zip(rows["number"], map(_read, rows["result"]), strict=True))
    return [(chunk, found[number]) for number, chunk in enumerate(chunks)]


def _told(work: Callable[[Json], Json], chunk: str) -> str:
    try:
        return encode({"result": work(decode(chunk))}).decode()
    except Exception as error:  # It fails this chunk, not the others.
        return encode({"error": f"{type(error).__name__}: {error}"}).decode()


def _read(text: str) -> Json | Exception:
    told = decode(text)
    return ChunkFailed(told["error"]) if "error" in told else told["result"]


def _deployed(config: Path | None, data_dir: Path, work: Work, chunk: Json) -> Json:
    async def worked() -> Json:
        from coe_core.host import Host

        host = await Host.start(config, data_dir=data_dir)
        try:
            async with host.lease() as application:
                return await work(application, chunk)
        finally:
            await host.close()

    return asyncio.run(worked())
