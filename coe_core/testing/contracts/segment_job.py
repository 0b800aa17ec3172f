"""The laws of segment jobs."""

from __future__ import annotations

import pickle

from hypothesis import strategies as st

from coe_core.contract import SegmentJob
from coe_core.record import Record
from coe_core.testing.contracts.component import (
    ComponentContract,
    is_json,
    survives_cancellation,
    untouched,
)
from coe_core.testing.contracts.law import law
from coe_core.testing.strategies import records

RECORDS = st.lists(records(), max_size=3)


class SegmentJobContract(ComponentContract[SegmentJob]):
    """What holds of every segment job. Its turns need not be in any log."""

    contract = SegmentJob

    @law()
    async def test_can_run_elsewhere(self, job: SegmentJob) -> None:
        """The job has a version, and its function can be sent to another process."""
        assert isinstance(job.version, str), f"version is {job.version!r}; it is a text"
        assert job.version, "version is empty"
        try:
            again = pickle.loads(pickle.dumps(job.derive))  # noqa: S301 our own
        except Exception as error:
            raise AssertionError(
                f"derive cannot be sent to another process ({error}); take a function of a module"
            ) from error
        assert callable(again), f"derive is {job.derive!r}, which cannot be called"

    @law(piece=RECORDS)
    async def test_derives_the_same_again(self, job: SegmentJob, piece: list[Record]) -> None:
        """From any records come results in JSON, the same each time; the records are left alone."""
        with untouched(piece):
            first, second = job.derive(piece), job.derive(piece)
        assert is_json(list(first)), f"derived was {first!r}, which is not JSON"
        assert list(first) == list(second), f"derived was {first!r}, then {second!r}"

    @law(piece=RECORDS)
    async def test_keeps_results_any_number_of_times(
        self, job: SegmentJob, piece: list[Record]
    ) -> None:
        """The same results can be kept again: after a kill nobody knows whether they were."""
        results = job.derive(piece)
        for _ in range(2):
            with untouched(results):
                await job.keep(results)

    @law(piece=RECORDS, steps=st.integers(0, 3))
    async def test_lets_itself_be_cancelled(
        self, job: SegmentJob, piece: list[Record], steps: int
    ) -> None:
        """A server that shuts down cancels it, and it can be done again."""
        await survives_cancellation(job.keep(job.derive(piece)), steps)
        await job.keep(job.derive(piece))
