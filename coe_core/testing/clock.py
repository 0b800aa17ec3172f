"""A clock that stands still until a test moves it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

from attrs import define, field

EPOCH = datetime(2026, 11, 1, 9, 0, tzinfo=UTC)

TURNS_OF_THE_LOOP = 10
"""How often the loop goes round before time moves on: enough for a sleeper to sleep again."""


@define
class ManualClock:
    """A `Clock`: `advance` moves it and wakes who sleeps."""

    _now: datetime = EPOCH
    _passed_s: float = field(default=0.0, init=False)
    _sleepers: list[tuple[float, asyncio.Future[None]]] = field(factory=list, init=False)

    def now(self) -> datetime:
        """Tell the time."""
        return self._now

    def monotonic_s(self) -> float:
        """Count the seconds that were advanced."""
        return self._passed_s

    async def sleep(self, seconds: float) -> None:
        """Wait until the clock was advanced that far."""
        if seconds <= 0:
            return await asyncio.sleep(0)
        alarm = (self._passed_s + seconds, asyncio.get_running_loop().create_future())
        self._sleepers.append(alarm)
        try:
            await alarm[1]
        finally:
            self._sleepers.remove(alarm)

    async def advance(self, seconds: float) -> None:
        """Move the clock, waking sleepers in the order of their alarms: one that sleeps again
        within the time is woken again.
        """
        end_s = self._passed_s + seconds
        await self._settle()
        while due := [alarm for alarm in self._sleepers if alarm[0] <= end_s]:
            at_s, _ = min(due, key=lambda alarm: alarm[0])
            self._pass(at_s - self._passed_s)
            for at, sleeper in due:
                if at == at_s and not sleeper.done():
                    sleeper.set_result(None)
            await self._settle()
        self._pass(end_s - self._passed_s)

    def _pass(self, seconds: float) -> None:
        self._passed_s += seconds
        self._now += timedelta(seconds=seconds)

    async def _settle(self) -> None:
        for _ in range(TURNS_OF_THE_LOOP):
            await asyncio.sleep(0)
