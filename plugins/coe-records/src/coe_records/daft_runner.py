"""The runner `daft`: on all cores of this machine, or on a Ray cluster. Needs `coe-records[daft]`.

https://docs.daft.ai, version 0.7.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from itertools import islice
from pathlib import Path
from typing import Any

from attrs import frozen

from coe_core.codec import decode, encode
from coe_core.error import CoeError, StartRefused
from coe_records.batch import Batch
from coe_records.runner import Derive, Derived, derived

AT_ONCE = 64
"""How many batches are handed to Daft at once, and so the most whose results are in memory."""


class DeriveFailed(CoeError):
    """A job could not derive anything from a batch, on whatever machine that was tried."""

    code = "derive_failed"


@frozen
class DaftRunner:
    """Hands batches to Daft. On Ray, every node has to see the data folder at the same path, and
    needs the same packages installed.
    """

    ray: str | None = None
    """The address of a cluster, `ray://HOST:10001`; None for this machine."""

    async def run(
        self, events: Path, derive: Derive, batches: Iterable[Batch]
    ) -> AsyncIterator[tuple[Batch, Derived]]:
        """Derive some batches at a time."""
        run = _prepared(self.ray)
        waiting = iter(batches)
        while some := list(islice(waiting, AT_ONCE)):
            found = await asyncio.to_thread(run, events, derive, some)
            for batch, text in zip(some, found, strict=True):
                yield batch, _read(text)


def _prepared(ray: str | None) -> Any:
    try:
        import daft
    except ImportError as error:
        raise StartRefused(
            "the runner daft needs a package more: pip install 'coe-records[daft]'"
        ) from error
    if ray is not None:
        daft.set_runner_ray(ray)
    return _run


def _run(events: Path, derive: Derive, batches: list[Batch]) -> list[str]:
    import daft

    folder = events.absolute()  # Workers may be elsewhere.

    def work(segment: str, start: int, end: int) -> str:
        return _written(folder, Batch(segment=segment, start=start, end=end), derive)

    frame = daft.from_pydict(
        {
            "number": list(range(len(batches))),
            "segment": [batch.segment for batch in batches],
            "start": [batch.start for batch in batches],
            "end": [batch.end for batch in batches],
        }
    )
    function = daft.func(work, return_dtype=daft.DataType.string(), use_process=True)
    column = daft.col
    results = frame.into_batches(1).with_column(  # So that each may go to another core.
        "result", function(column("segment"), column("start"), column("end"))
    )
    rows = results.select("number", "result").to_pydict()
    by_number = dict(zip(rows["number"], rows["result"], strict=True))
    return [by_number[number] for number in range(len(batches))]


def _written(events: Path, batch: Batch, derive: Derive) -> str:
    try:
        return encode({"results": list(derived(events, batch, derive))}).decode()
    except Exception as error:  # It fails this batch, not the others.
        return encode({"error": f"{type(error).__name__}: {error}"}).decode()


def _read(text: str) -> Derived:
    told = decode(text)
    return DeriveFailed(told["error"]) if "error" in told else told["results"]
