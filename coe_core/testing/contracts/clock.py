"""The laws of clocks."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import strategies as st

from coe_core.service import Clock
from coe_core.testing.contracts.component import ServiceContract, survives_cancellation
from coe_core.testing.contracts.law import law


class ClockContract(ServiceContract[Clock]):
    """What holds of every clock."""

    contract = Clock

    async def passing(self, clock: Clock, seconds: float) -> None:
        """Let time pass; override it for a clock that must be moved."""
        await clock.sleep(seconds)

    @law()
    async def test_tells_the_time_in_utc(self, clock: Clock) -> None:
        """`now` is aware, and UTC."""
        assert clock.now().utcoffset() == timedelta(0), (
            f"now() is {clock.now()!r}; return datetime.now(UTC)"
        )

    @law(seconds=st.floats(0, 0.002))
    async def test_never_goes_backwards(self, clock: Clock, seconds: float) -> None:
        """`monotonic_s` grows by at least what passed, up to rounding; `now` goes with it."""
        before_s, before = clock.monotonic_s(), clock.now()
        await self.passing(clock, seconds)
        passed_s = clock.monotonic_s() - before_s
        assert passed_s >= seconds * 0.9, f"{seconds} s passed, monotonic_s() says {passed_s}"
        assert clock.now() >= before, f"now() went from {before} back to {clock.now()}"

    @law()
    async def test_does_not_wait_for_nothing(self, clock: Clock) -> None:
        """A sleep of no time, or of less, returns."""
        await clock.sleep(0)
        await clock.sleep(-1)

    @law(steps=st.integers(0, 3))
    async def test_lets_sleepers_be_cancelled(self, clock: Clock, steps: int) -> None:
        """A sleep can be cancelled."""
        await survives_cancellation(clock.sleep(3600), steps)
