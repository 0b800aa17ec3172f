"""Runs segment jobs over the parts of the log that they have not done, or failed in."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from attrs import define, field, frozen
from loguru import logger

from coe_core.codec import rfc3339
from coe_core.contract import Alert, SegmentJob
from coe_core.error import Conflict
from coe_core.lease import LEASE_TIME, leased
from coe_core.message import Json
from coe_core.service import Clock, Deployment, StateStore
from coe_records.batch import Batch, BatchBook, FailedBatch
from coe_records.log import Log
from coe_records.records import Records
from coe_records.runner import Derived, LocalRunner, Runner

BATCH_BYTES = 1 << 20
"""A batch ends with the line that reaches this size: some hundred records."""


@frozen(kw_only=True)
class Reprocessed:
    """What a run came to."""

    what: str
    batches: int
    done: int
    size_bytes: int
    """Of what was done now."""
    failed: tuple[FailedBatch, ...] = ()


@frozen(kw_only=True)
class Window:
    """Which part of the log is meant: what was written then; all of it if left open."""

    since: datetime | None = None
    until: datetime | None = None

    def may_hold(self, segment: str) -> bool:
        """Tell by a segment's day."""
        day = datetime.fromisoformat(segment[:10]).replace(tzinfo=UTC)
        starts_late = self.until is not None and day >= self.until
        ends_early = self.since is not None and day + timedelta(days=1) <= self.since
        return not (starts_late or ends_early)

    def holds(self, log: Log, batch: Batch, size: int) -> bool:
        """Tell by when the first line of a batch was written, and the first one behind it, or else
        the segment's last.
        """
        first, after = (
            _written_at(log, batch.segment, at, size) for at in (batch.start, batch.end)
        )
        is_late = self.until is not None and first is not None and first >= rfc3339(self.until)
        is_early = self.since is not None and after is not None and after < rfc3339(self.since)
        return not (is_late or is_early)


def _written_at(log: Log, segment: str, offset: int, size: int) -> str | None:
    if offset == size:
        line = log.last(segment, size)
    else:
        entry = next(log.entries(segment, offset, size), None)
        line = entry.line if entry is not None else None
    return line.at if line is not None else None


@define
class Reprocessing:
    """One run of one job. Whoever is killed in it loses the batch that was under way."""

    _records: Records
    _book: BatchBook
    _job: SegmentJob
    _runner: Runner = field(factory=LocalRunner)
    _window: Window = field(factory=Window)

    async def plan(self) -> Sequence[Batch]:
        """List the batches that are due."""
        log, found = self._records.log, []
        for segment, size in (await self._records.ends()).items():
            if self._window.may_hold(segment) and log.size(segment):  # Else another machine's.
                done = await self._book.done(self._job, segment, _sha256(log, segment))
                for start, end in done.missing(size):
                    found += [
                        batch
                        for batch in _cut(log, segment, start, end)
                        if self._window.holds(log, batch, size)
                    ]
        return found

    async def run(self, batches: Sequence[Batch], tell: Callable[[int], Any]) -> Reprocessed:
        """Run the job over batches; `tell` is told the size of each."""
        done, size_bytes, failed = 0, 0, []
        log = self._records.log
        async for batch, results in self._runner.run(log.events, self._job.derive, batches):
            failure = await self._keep(batch, results)
            if failure is None:
                done, size_bytes = done + 1, size_bytes + batch.end - batch.start
            else:
                failed.append(failure)
            tell(batch.end - batch.start)
        return Reprocessed(
            what=self._job.name,
            batches=len(batches),
            done=done,
            size_bytes=size_bytes,
            failed=tuple(failed),
        )

    async def _keep(self, batch: Batch, results: Derived) -> FailedBatch | None:
        try:
            if isinstance(results, Exception):
                raise results
            await self._job.keep(results)
        except Exception as error:
            bound = logger.bind(job=self._job.name, segment=batch.segment, offset=batch.start)
            bound.opt(exception=error).error("a batch has failed, and is tried again later")
            return await self._book.fail(self._job.name, batch, error)
        await self._book.finish(self._job, batch, _sha256(self._records.log, batch.segment))
        return None


def _sha256(log: Log, segment: str) -> str | None:
    from coe_records import manifest  # SQLAlchemy is heavy

    try:
        return manifest.read(log.events, segment).sha256
    except (OSError, ValueError):
        return None  # Not sealed yet; or the seal is broken, which is for `verify` to say.


def _cut(log: Log, segment: str, start: int, end: int) -> Iterator[Batch]:
    """Cut a part of a segment where lines end."""
    with log.open(segment) as file:
        while start < end:
            file.seek(start + BATCH_BYTES - 1)
            file.readline()
            cut = min(end, file.tell()) if start + BATCH_BYTES < end else end
            yield Batch(segment=segment, start=start, end=cut)
            start = cut


@asynccontextmanager
async def alone(store: StateStore, clock: Clock, what: str) -> AsyncIterator[None]:
    """Be the only one to run a job, after waiting for the lease of one that may have died. Raises
    `Conflict` if another goes on with it.
    """
    give_up_s = clock.monotonic_s() + LEASE_TIME.total_seconds() + 1
    while clock.monotonic_s() < give_up_s:
        async with leased(store, clock, f"reprocess/{what}") as is_ours:
            if is_ours:
                yield
                return
        await clock.sleep(1.0)
    raise Conflict(f"another process is reprocessing {what}; wait until it is done")


@frozen
class RetryJob:
    """A `Job`: tries the failed batches again that are due, here as everywhere one at a time."""

    _deployment: Deployment
    _records: Records
    every: timedelta = timedelta(seconds=15)
    name: str = "failed-batches"

    async def run(self) -> Json:
        tried = done = 0
        async with self._deployment.lease() as application:
            store, clock = application.need(StateStore), application.need(Clock)
            book = BatchBook(store, clock)
            for job in application.segment_jobs:
                failed = await book.failed(job.name)
                due = [f for f in failed if f.next_at <= clock.now() and self._is_here(f)]
                async with leased(store, clock, f"reprocess/{job.name}") as is_ours:
                    batches = [each.batch for each in due] if is_ours else []
                    work = Reprocessing(self._records, book, job)
                    result = await work.run(batches, lambda _: None)
                    tried, done = tried + result.batches, done + result.done
        return {"tried": tried, "done": done}

    def _is_here(self, failed: FailedBatch) -> bool:
        """Whether the log has it, and not that of another machine, whose workers will try it."""
        return self._records.log.size(failed.batch.segment) > 0


@frozen
class FailedBatchesRule:
    """Fires while a batch has failed and is not done."""

    _deployment: Deployment
    name: str = "records-failed-batches"

    async def evaluate(self, now: datetime) -> Sequence[Alert]:
        async with self._deployment.lease() as application:
            book = BatchBook(application.need(StateStore), application.need(Clock))
            failed = await book.failed()
        return [
            Alert(
                key=f"{self.name}-{what}",
                rule=self.name,
                severity="warning",
                text=_said([each for each in failed if each.what == what]),
                said={"ko": f"{what}: 로그 묶음이 작업에서 실패하여 처리되지 않았습니다"},
                playbook="docs/playbooks/failed-batches.md",
                pages={"ko": "docs/playbooks/failed-batches.ko.md"},
                at=now,
            )
            for what in sorted({each.what for each in failed})
        ]


def _said(failed: Sequence[FailedBatch]) -> str:
    worst = max(failed, key=lambda each: each.attempts)
    return (
        f"{len(failed)} batches of {worst.what} have failed, one of them {worst.attempts} times, "
        f"last with {worst.error_code}: {worst.error}"
    )
