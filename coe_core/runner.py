"""Runners: what works through chunks, one after the other here or side by side in other processes.

The work is written once. It is done in a process of the deployment, which has its settings, its
ledger and its budgets, whichever runner that is. What needs no deployment is spread as it is.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from attrs import frozen

from coe_core.application import Application
from coe_core.codec import decode, encode
from coe_core.error import CoeError, StartRefused
from coe_core.message import Json

Work: TypeAlias = Callable[[Application, Json], Awaitable[Json]]
"""A function of a module: it may be called in another process, with a deployment of its own."""

AT_ONCE = 16
"""How many chunks a `DaftRunner` hands to Daft at once, and so the most that a kill costs."""

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

    Yields as a `Runner` does. Raises `StartRefused` where Daft is not installed.
    """
    daft, waiting = _prepared(ray), list[Json]()
    async for chunk in chunks:
        waiting.append(chunk)
        if len(waiting) == at_once:
            for pair in await asyncio.to_thread(_spread, daft, work, waiting):
                yield pair
            waiting = []
    for pair in await asyncio.to_thread(_spread, daft, work, waiting) if waiting else ():
        yield pair


def _prepared(ray: str | None) -> Any:
    os.environ.update(QUIET)
    try:
        import daft
    except ImportError as error:
        raise StartRefused(
            "the runner daft needs a package more: pip install 'coe-core[daft]'"
        ) from error
    if ray is not None:
        daft.set_runner_ray(ray)
    return daft


def _spread(
    daft: Any, work: Callable[[Json], Json], chunks: Sequence[Json]
) -> Sequence[tuple[Json, Json | Exception]]:
    def worked(chunk: str) -> str:
        return _told(work, chunk)

    function = daft.func(worked, return_dtype=daft.DataType.string(), use_process=True)
    frame = daft.from_pydict(
        {"number": list(range(len(chunks))), "chunk": [encode(c).decode() for c in chunks]}
    )
    results = frame.into_batches(1).with_column(  # So that each may go to another core.
        "result", function(daft.col("chunk"))
    )
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
