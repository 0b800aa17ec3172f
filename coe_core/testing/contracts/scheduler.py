"""The laws of schedulers."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

from attrs import define, field

from coe_core.contract import Job
from coe_core.message import Json
from coe_core.service import Scheduler
from coe_core.testing.contracts.component import ServiceContract
from coe_core.testing.contracts.law import law

SOON_S = 10.0


@define
class Noted:
    """A job that notes when it ran."""

    name: str = "noted"
    every: timedelta | None = None
    ran: asyncio.Event = field(factory=asyncio.Event)
    rounds: int = 0

    async def run(self) -> Json:
        """Note it."""
        self.rounds += 1
        self.ran.set()
        return {"rounds": self.rounds}


@define
class Failing:
    """A job that fails."""

    name: str = "failing"
    every: timedelta | None = None
    ran: asyncio.Event = field(factory=asyncio.Event)

    async def run(self) -> Json:
        """Fail."""
        self.ran.set()
        raise LookupError("a job that fails on purpose")


class SchedulerContract(ServiceContract[Scheduler]):
    """What holds of every scheduler, given time."""

    contract = Scheduler

    def known(self, scheduler: Scheduler, job: Job) -> None:
        """Override it if jobs must be made known before they are submitted."""

    @law()
    async def test_runs_a_job_once(self, scheduler: Scheduler) -> None:
        """A job that is submitted runs once, though the scheduler goes on."""
        job, another = Noted("first"), Noted("second")
        for each in (job, another):
            self.known(scheduler, each)
            await scheduler.submit(each)
            await _ran(each.ran)
        assert job.rounds == 1, f"a job that was submitted once ran {job.rounds} times"

    @law()
    async def test_waits_until_the_time(self, scheduler: Scheduler) -> None:
        """A job that is submitted for later does not run before one that is due."""
        later, now = Noted("later"), Noted("now")
        for job, at in ((later, datetime.now(UTC) + timedelta(days=1)), (now, None)):
            self.known(scheduler, job)
            await scheduler.submit(job, at=at)
        await _ran(now.ran)
        assert later.rounds == 0, "a job for tomorrow ran today"

    @law()
    async def test_survives_a_job_that_fails(self, scheduler: Scheduler) -> None:
        """A job that raises does not keep the next one from running."""
        failing, job = Failing(), Noted()
        self.known(scheduler, failing)
        await scheduler.submit(failing)
        await _ran(failing.ran)
        self.known(scheduler, job)
        await scheduler.submit(job)
        await _ran(job.ran)


async def _ran(event: asyncio.Event) -> None:
    try:
        async with asyncio.timeout(SOON_S):
            await event.wait()
    except TimeoutError:
        raise AssertionError(f"a job that is due did not run within {SOON_S:g} s") from None
