"""Runners: what reads the log piece by piece and derives results from it, here or elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from pathlib import Path
from typing import Protocol, TypeAlias

from attrs import frozen

from coe_core.message import Json
from coe_core.record import Record
from coe_records.batch import Batch

Derive: TypeAlias = Callable[[Sequence[Record]], Sequence[Json]]
Derived: TypeAlias = Sequence[Json] | Exception


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
