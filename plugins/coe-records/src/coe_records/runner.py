"""Runners: what reads the log piece by piece and derives results from it, here or elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Protocol, TypeAlias

from attrs import frozen

from coe_core.codec import structure, unstructure
from coe_core.message import Json
from coe_core.record import Record
from coe_core.runner import spread
from coe_records.batch import Batch

Derive: TypeAlias = Callable[[Sequence[Record]], Sequence[Json]]
Derived: TypeAlias = Sequence[Json] | Exception

AT_ONCE = 64
"""How many batches are handed to Daft at once, and so the most whose results are in memory."""


class Runner(Protocol):
    """Runs a function over batches."""

    def run(
        self, events: Path, derive: Derive, batches: Iterable[Batch]
    ) -> AsyncIterator[tuple[Batch, Derived]]:
        """Yield each batch with what was derived from it, or with what went wrong."""
        ...


def derived(events: Path, batch: Batch, derive: Derive) -> Sequence[Json]:
    """Read a batch, and derive. Lines that are damaged are passed over: they are for `repair`."""
    from coe_records.following import records_of
    from coe_records.log import Log

    entries = Log(events).entries(batch.segment, batch.start, batch.end)
    lines = [entry.line for entry in entries if entry.line is not None]
    return derive([record for line in lines for record in records_of(line)])


@frozen
class LocalRunner:
    """Runs in this process, one batch after the other: no more than one is in memory."""

    async def run(
        self, events: Path, derive: Derive, batches: Iterable[Batch]
    ) -> AsyncIterator[tuple[Batch, Derived]]:
        """Derive in a thread."""
        for batch in batches:
            try:
                results: Derived = await asyncio.to_thread(derived, events, batch, derive)
            except Exception as error:
                results = error
            yield batch, results


@frozen
class DaftRunner:
    """Runs on all cores of this machine, or on a Ray cluster, by Daft: without a deployment, for
    which nobody asks here. On Ray, every node has to see the data folder at the same path.
    """

    ray: str | None = None
    """The address of a cluster, `ray://HOST:10001`; None for this machine."""

    def run(
        self, events: Path, derive: Derive, batches: Iterable[Batch]
    ) -> AsyncIterator[tuple[Batch, Derived]]:
        """Derive some batches at a time. Raises `StartRefused` where Daft is not installed."""
        work = partial(_derived, events.absolute(), derive)  # Workers may be elsewhere.
        found = spread(work, _chunks(batches), AT_ONCE, self.ray)
        return ((structure(chunk, Batch), results) async for chunk, results in found)


async def _chunks(batches: Iterable[Batch]) -> AsyncIterator[Json]:
    for batch in batches:
        yield unstructure(batch)


def _derived(events: Path, derive: Derive, chunk: Json) -> Json:
    return [*derived(events, structure(chunk, Batch), derive)]
