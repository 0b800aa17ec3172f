"""The laws of jobs."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import strategies as st

from coe_core.contract import Job
from coe_core.testing.contracts.component import (
    ComponentContract,
    is_json,
    survives_cancellation,
)
from coe_core.testing.contracts.law import law


class JobContract(ComponentContract[Job]):
    """What holds of every job."""

    contract = Job

    @law()
    async def test_recurs_after_a_time_or_never(self, job: Job) -> None:
        """`every` is a positive timedelta, or None."""
        assert job.every is None or (
            isinstance(job.every, timedelta) and job.every > timedelta(0)
        ), f"every is {job.every!r}; say how often, or None for work that is started by hand"

    @law()
    async def test_reports_in_json(self, job: Job) -> None:
        """A round returns a report that is JSON, and can be repeated."""
        for _ in range(2):
            report = await job.run()
            assert is_json(report), f"run() returned {report!r}, which is not JSON"

    @law(steps=st.integers(0, 10))
    async def test_can_be_killed_and_repeated(self, job: Job, steps: int) -> None:
        """A round that was cut off anywhere does not keep the next one from ending well."""
        await survives_cancellation(job.run(), steps)
        await job.run()
