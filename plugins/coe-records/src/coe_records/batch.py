"""Batches: pieces of the log that a segment job works on, which are done and which have failed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from attrs import evolve, field, frozen

from coe_core.codec import structure, unstructure
from coe_core.contract import SegmentJob
from coe_core.error import CoeError, Conflict
from coe_core.service import Clock, StateStore

DONE, FAILED = "batches/done/", "batches/failed/"
FIRST_PAUSE = timedelta(seconds=30)
LONGEST_PAUSE = timedelta(days=1)


@frozen(kw_only=True)
class Batch:
    """Some lines of a segment, from one offset to another."""

    segment: str
    start: int
    end: int


@frozen(kw_only=True)
class Done:
    """What of a segment a job has worked through."""

    version: str
    """The job's, then."""
    sha256: str | None
    """The sealed segment's; None as long as it was not sealed."""
    parts: tuple[tuple[int, int], ...] = ()
    """From and to, in order, apart from each other."""

    def plus(self, start: int, end: int) -> Done:
        """Add a part."""
        parts: list[tuple[int, int]] = []
        for part in sorted([*self.parts, (start, end)]):
            if parts and part[0] <= parts[-1][1]:
                parts[-1] = (parts[-1][0], max(parts[-1][1], part[1]))
            else:
                parts.append(part)
        return evolve(self, parts=tuple(parts))

    def missing(self, size: int) -> Iterator[tuple[int, int]]:
        """Yield what is left of a segment of that size."""
        at = 0
        for start, end in self.parts:
            if at < min(start, size):
                yield at, min(start, size)
            at = end
        if at < size:
            yield at, size


@frozen(kw_only=True)
class FailedBatch:
    """A batch that has failed, until it is done."""

    what: str
    """The job's name."""
    batch: Batch
    error_code: str
    error: str
    attempts: int
    first_at: datetime
    next_at: datetime
    """When it is tried again."""


@frozen
class BatchBook:
    """What is known of batches, in the state store, so that any process goes on from there."""

    _store: StateStore = field(repr=False)
    _clock: Clock = field(repr=False)

    async def done(self, job: SegmentJob, segment: str, sha256: str | None) -> Done:
        """Tell what of a segment is done: by this version of the job, in this segment."""
        fresh = Done(version=job.version, sha256=sha256)
        value = (await self._store.get(f"{DONE}{job.name}/{segment}")).value
        if value is None:
            return fresh
        done = structure(value, Done)
        if done.version != job.version or (sha256 and done.sha256 and done.sha256 != sha256):
            return fresh
        return evolve(done, sha256=sha256 or done.sha256)

    async def finish(self, job: SegmentJob, batch: Batch, sha256: str | None) -> None:
        """Note that a batch is done, and so whatever had failed in it."""
        key = f"{DONE}{job.name}/{batch.segment}"
        while True:
            found = await self._store.get(key)
            done = await self.done(job, batch.segment, sha256)
            value = unstructure(done.plus(batch.start, batch.end))
            try:
                await self._store.put(key, value, expect=found.version)
                break
            except Conflict:
                continue
        for failed in await self.failed(job.name, batch.segment):
            if batch.start <= failed.batch.start and failed.batch.end <= batch.end:
                await self._store.put(_key(job.name, failed.batch), None)

    async def fail(self, what: str, batch: Batch, error: Exception) -> FailedBatch:
        """Keep a batch that has failed, to be tried again after twice the pause of before."""
        now = self._clock.now()
        value = (await self._store.get(_key(what, batch))).value
        before = structure(value, FailedBatch) if value else None
        attempts = before.attempts + 1 if before else 1
        pause = min(FIRST_PAUSE * 2 ** min(attempts - 1, 20), LONGEST_PAUSE)
        failed = FailedBatch(
            what=what,
            batch=batch,
            error_code=error.code if isinstance(error, CoeError) else type(error).__name__,
            error=str(error)[:1000],
            attempts=attempts,
            first_at=before.first_at if before else now,
            next_at=now + pause,
        )
        await self._store.put(_key(what, batch), unstructure(failed))
        return failed

    async def failed(self, what: str = "", segment: str = "") -> Sequence[FailedBatch]:
        """List what has failed and is not done, by job and place."""
        prefix = f"{FAILED}{what}/{segment}" if what else FAILED
        found = await self._store.list(prefix)
        return [structure(versioned.value, FailedBatch) for versioned in found.values()]


def _key(what: str, batch: Batch) -> str:
    return f"{FAILED}{what}/{batch.segment}:{batch.start:015}"
