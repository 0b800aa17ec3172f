"""Work that no request asked for: what a job does for a group, and what that costs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime

from attrs import field, frozen

from coe_core.access import GroupName, Principal
from coe_core.application import Application
from coe_core.budget import Budget, BudgetBook
from coe_core.engine import keep
from coe_core.error import CoeError
from coe_core.identity import uuid7
from coe_core.ledger import Ledger
from coe_core.patience import to_the_end
from coe_core.record import JobRun
from coe_core.service import Clock


@frozen(kw_only=True)
class Work:
    """A job at work for one group: the `parent` of the calls that it makes."""

    id: str
    job: str
    """The job's name."""
    principal: Principal
    ledger: Ledger = field(repr=False)
    budget: Budget = field(repr=False)
    application: Application = field(repr=False, eq=False)
    deadline_s: float

    @property
    def group(self) -> str:
        """The group that pays."""
        return self.principal.group


@asynccontextmanager
async def working(application: Application, job: str, group: str) -> AsyncIterator[Work]:
    """Begin some work of a job for a group, which pays for it as for a turn of its own: within its
    budget, with the models that it may use, in the time that a turn may take.

    At the end, in whatever way, the calls that were made are recorded as a `JobRun`. Raises
    `Unavailable` when they cannot be.
    """
    clock = application.need(Clock)
    id_, started_at = uuid7(), clock.now()
    limit_usd = application.group(group).budget_usd_month
    work = Work(
        id=id_,
        job=job,
        principal=Principal(group=GroupName(group)),
        ledger=Ledger(id_),
        budget=application.need(BudgetBook).budget(group, limit_usd),
        application=application,
        deadline_s=clock.monotonic_s() + application.settings.coe.turn_timeout_s,
    )
    try:
        yield work
    except BaseException as error:
        await _record(work, started_at, error)
        raise
    await _record(work, started_at, None)


async def _record(work: Work, started_at: datetime, error: BaseException | None) -> None:
    """Write down what was paid, to the end though the work be cancelled meanwhile."""
    work.ledger.cancel_running()  # What was dropped half read is paid too.
    if not work.ledger.attempts:
        return
    known = error if isinstance(error, CoeError) else None
    run = JobRun(
        id=work.id,
        job=work.job,
        group=work.group,
        started_at=started_at,
        ended_at=work.application.need(Clock).now(),
        attempts=tuple(work.ledger.attempts),
        outcome="ok" if error is None else "failed",
        error_code=known.code if known else None,
        error=known.message if known else None,
    )
    await to_the_end(keep(work.application, run))
