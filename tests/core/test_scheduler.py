"""Whatever happens to workers, each job is done: by one at a time, and not again without need."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from attrs import define, evolve, field
from loguru import logger

from coe_core.error import Unavailable
from coe_core.hookspec import hookimpl
from coe_core.lease import LEASE_TIME, leased
from coe_core.message import Json
from coe_core.scheduler import JobScheduler
from coe_core.service import StateStore, Versioned
from coe_core.testing import (
    ManualClock,
    MemoryStateStore,
    StandingDeployment,
    deployment,
)
from coe_core.testing.turn import scripted_application

SOON = 5.0


@define
class Counting:
    """Counts its rounds, each of which takes until `gate` is open."""

    name: str = "counting"
    every: timedelta | None = None
    gate: asyncio.Event = field(factory=asyncio.Event)
    began: int = 0
    ended: int = 0
    fails: bool = False

    async def run(self) -> Json:
        self.began += 1
        await self.gate.wait()
        self.ended += 1
        if self.fails:
            raise LookupError("on purpose")
        return self.ended


@define
class Workers:
    """Workers over one state store, on one clock."""

    job: Counting
    clock: ManualClock = field(factory=ManualClock)
    store: MemoryStateStore = field(factory=MemoryStateStore)
    running: list[JobScheduler] = field(factory=list)

    async def start(self, *, has_job: bool = True) -> JobScheduler:
        application = scripted_application()
        jobs = (self.job,) if has_job else ()
        services = {**application.services, StateStore: self.store}
        standing = StandingDeployment(evolve(application, jobs=jobs, services=services))
        worker = JobScheduler(standing, self.clock)
        await worker.open()
        self.running.append(worker)
        return worker

    async def close(self) -> None:
        for worker in self.running:
            await worker.close()


@pytest.fixture
async def workers() -> AsyncIterator[Workers]:
    made = Workers(Counting())
    made.job.gate.set()
    yield made
    await made.close()


async def test_recurring_job_runs_once_in_its_time_on_any_number_of_workers(
    workers: Workers,
) -> None:
    workers.job.every = timedelta(minutes=1)
    for _ in range(3):
        await workers.start()
    for minute in range(1, 6):
        await workers.clock.advance(60)
        assert abs(workers.job.ended - minute) <= 1
    assert workers.job.began == workers.job.ended


async def test_job_is_one_worker_s_at_a_time(workers: Workers) -> None:
    workers.job.gate.clear()
    first, _ = await workers.start(), await workers.start()
    await first.submit(workers.job)
    await workers.clock.advance(5 * LEASE_TIME.total_seconds())
    assert workers.job.began == 1
    workers.job.gate.set()
    await workers.clock.advance(SOON)
    assert (workers.job.began, workers.job.ended) == (1, 1)


async def test_submitted_job_outlives_its_worker(workers: Workers) -> None:
    """It was killed in the middle: its lease is not given back, and runs out."""
    workers.job.gate.clear()
    first = await workers.start()
    await first.submit(workers.job)
    await workers.clock.advance(SOON)
    assert workers.job.began == 1
    held = await workers.store.list("leases/")
    await first.close()
    for key, lease in held.items():
        await workers.store.put(key, lease.value)
    workers.job.gate.set()
    await workers.start()
    await workers.clock.advance(1)
    assert workers.job.ended == 0, "the dead worker's lease still runs"
    await workers.clock.advance(LEASE_TIME.total_seconds() + SOON)
    assert workers.job.ended == 1
    await workers.clock.advance(SOON)
    assert workers.job.ended == 1


async def test_job_of_a_process_that_does_not_run_jobs_is_run_by_another(
    workers: Workers,
) -> None:
    await workers.start()
    idle = scripted_application()
    application = evolve(idle, services={**idle.services, StateStore: workers.store})
    await JobScheduler(StandingDeployment(application), workers.clock).submit(workers.job)
    await workers.clock.advance(SOON)
    assert workers.job.ended == 1


async def test_several_submissions_before_it_runs_are_one(workers: Workers) -> None:
    worker = await workers.start()
    later = workers.clock.now() + timedelta(hours=1)
    for at in (later + timedelta(hours=1), later):
        await worker.submit(workers.job, at=at)
    await workers.clock.advance(3000)
    assert workers.job.ended == 0
    await workers.clock.advance(10_000)
    assert workers.job.ended == 1


async def test_submission_while_it_runs_is_another_round(workers: Workers) -> None:
    workers.job.gate.clear()
    worker = await workers.start()
    await worker.submit(workers.job)
    await workers.clock.advance(SOON)
    await worker.submit(workers.job)
    workers.job.gate.set()
    await workers.clock.advance(SOON)
    assert workers.job.ended == 2


async def test_failure_is_told_and_the_job_recurs(workers: Workers) -> None:
    workers.job.every, workers.job.fails = timedelta(minutes=1), True
    await workers.start()
    await workers.clock.advance(130)
    state: Any = (await workers.store.get("jobs/counting")).value
    assert state["error"] == "LookupError: on purpose"
    assert workers.job.ended >= 2


async def test_store_that_takes_nothing_for_a_while_is_one_line_of_the_log(
    workers: Workers,
) -> None:
    @define
    class FullStore(MemoryStateStore):
        is_full: bool = True

        async def put(self, key: str, value: Json, *, expect: int | None = None) -> Versioned:
            if self.is_full:
                raise Unavailable("no room")
            return await super().put(key, value, expect=expect)

    workers.store = store = FullStore()
    workers.job.every = timedelta(minutes=1)
    told: list[str] = []
    sink = logger.add(lambda message: told.append(message.record["message"]))
    await workers.start()
    await workers.clock.advance(10 * SOON)
    assert workers.job.began == 0
    store.is_full = False
    await workers.clock.advance(70)
    logger.remove(sink)
    assert workers.job.ended == 2
    assert told == ["jobs cannot be looked after", "jobs are looked after again"]


async def test_lease_is_one_holder_s(workers: Workers) -> None:
    async with (
        leased(workers.store, workers.clock, "x") as first,
        leased(workers.store, workers.clock, "x") as second,
    ):
        assert (first, second) == (True, False)
    async with leased(workers.store, workers.clock, "x") as third:
        assert third


@define
class JobPlugin:
    @hookimpl
    def coe_jobs(self, ctx: Any) -> list[Counting]:
        return [JOB]


JOB = Counting(every=timedelta(minutes=1))


async def test_deployment_runs_its_jobs_where_it_is_at_work() -> None:
    JOB.gate.set()
    async with deployment(plugins={"counting": JobPlugin}) as host:
        assert JOB.began == 0, "a command that opens the deployment runs no jobs"
        await host.work()
        async with asyncio.timeout(SOON):
            while not JOB.ended:
                await asyncio.sleep(0.01)
