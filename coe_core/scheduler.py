"""The scheduler: each job is run by one worker, again after its time or once when submitted."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime
from functools import partial

from attrs import define, evolve, field, frozen
from loguru import logger

from coe_core.application import Application
from coe_core.codec import structure, unstructure
from coe_core.contract import Job
from coe_core.error import Conflict, Unavailable
from coe_core.lease import leased
from coe_core.message import Json
from coe_core.outage import Outage
from coe_core.service import Clock, Deployment, StateStore
from coe_core.state import ABSENT

JOBS = "jobs/"
LOOK_S = 1.0
"""How often a worker looks whether a job is due."""


@frozen(kw_only=True)
class JobState:
    """What the state store knows of a job."""

    due: datetime | None = None
    """When it was submitted for."""
    taken: datetime | None = None
    """The same of the round that was begun for it, until that has ended."""
    began: datetime | None = None
    ended: datetime | None = None
    error: str | None = None
    """What the newest round that ended has failed with."""


@define(eq=False)
class JobScheduler:
    """A `Scheduler`. Every process may submit; one that is open runs what is due as well, beside
    the other workers of the deployment.

    A job is known by its name: that of a component, or, for as long as this process lives, of
    whatever was submitted here.
    """

    _deployment: Deployment
    _clock: Clock
    _submitted: dict[str, Job] = field(factory=dict, init=False)
    _running: dict[str, asyncio.Task[None]] = field(factory=dict, init=False)
    _looking: asyncio.Task[None] | None = field(default=None, init=False)
    _outage: Outage = field(init=False)

    @_outage.default
    def _(self) -> Outage:
        told = "jobs cannot be looked after", "jobs are looked after again"
        return Outage(*told, self._clock.monotonic_s)

    async def open(self) -> None:
        """Begin to run jobs."""
        self._looking = asyncio.create_task(self._look_again_and_again())

    async def close(self) -> None:
        """Stop: what runs is cancelled, and done again by another worker, or after a start."""
        tasks = [*([self._looking] if self._looking else []), *self._running.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def submit(self, job: Job, *, at: datetime | None = None) -> None:
        """Run a job once; one that is submitted several times before it begins runs once for all,
        at the earliest of the times.
        """
        self._submitted[job.name] = job
        due = at or self._clock.now()

        def earlier(state: JobState) -> JobState:
            return evolve(state, due=min(due, state.due or due))

        async with self._deployment.lease() as application:
            await _change(application.need(StateStore), job.name, earlier)
        if self._looking is not None:
            await self._look()

    async def _look_again_and_again(self) -> None:
        while True:
            try:
                await self._look()
            except Exception as error:
                self._tell(error)
            await self._clock.sleep(LOOK_S)

    async def _look(self) -> None:
        async with self._deployment.lease() as application:
            states = await application.need(StateStore).list(JOBS)
            for job in self._jobs(application):
                found = states.get(f"{JOBS}{job.name}", ABSENT)
                if job.name not in self._running and self._is_due(job, _read(found.value)):
                    task = asyncio.create_task(self._run(job))
                    self._running[job.name] = task
                    task.add_done_callback(partial(self._ended, job.name))

    def _ended(self, name: str, task: asyncio.Task[None]) -> None:
        del self._running[name]
        if task.cancelled():
            return
        if (error := task.exception()) is None:
            self._outage.passed()
        else:
            self._tell(error)

    def _tell(self, error: BaseException) -> None:
        if isinstance(error, Unavailable):  # It is so again at the next look, of every job.
            self._outage.met(error)
        else:
            logger.opt(exception=error).error("jobs could not be looked after")

    def _jobs(self, application: Application) -> list[Job]:
        return [*({**self._submitted, **{job.name: job for job in application.jobs}}).values()]

    def _is_due(self, job: Job, state: JobState) -> bool:
        now = self._clock.now()
        if any(due is not None and due <= now for due in (state.due, state.taken)):
            return True  # A round that was begun is another worker's, or its worker has died.
        return job.every is not None and (state.began is None or state.began + job.every <= now)

    async def _run(self, job: Job) -> None:
        async with self._deployment.lease() as application:
            store = application.need(StateStore)
            async with leased(store, self._clock, f"{JOBS}{job.name}") as is_ours:
                # Another worker may have run it between our look and our lease.
                state = _read((await store.get(f"{JOBS}{job.name}")).value)
                if is_ours and self._is_due(job, state):
                    await self._run_round(store, job)

    async def _run_round(self, store: StateStore, job: Job) -> None:
        began, error = self._clock.now(), None

        def begun(state: JobState) -> JobState:
            is_due = state.due is not None and state.due <= began
            left, taken = (None, state.due) if is_due else (state.due, state.taken)
            return evolve(state, began=began, due=left, taken=taken)

        await _change(store, job.name, begun)
        try:
            await job.run()
        except Exception as raised:
            error = f"{type(raised).__name__}: {raised}"
            logger.bind(job=job.name).opt(exception=raised).error("a job raised")
        ended = self._clock.now()
        await _change(
            store, job.name, lambda state: evolve(state, taken=None, ended=ended, error=error)
        )


async def _change(store: StateStore, job: str, change: Callable[[JobState], JobState]) -> None:
    key = f"{JOBS}{job}"
    while True:
        found = await store.get(key)
        try:
            changed = unstructure(change(_read(found.value)))
            await store.put(key, changed, expect=found.version)
        except Conflict:
            continue
        return


def _read(value: Json) -> JobState:
    return structure(value or {}, JobState)
