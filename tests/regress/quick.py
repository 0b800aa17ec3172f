"""A clock of the day: time passes when the traffic says so, and to sleep takes none."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

from attrs import define, field


@define
class QuickClock:
    """A `Clock`. What sleeps in the background sleeps on."""

    _now: datetime
    _passed_s: float = field(default=0.0, init=False)

    def now(self) -> datetime:
        return self._now

    def monotonic_s(self) -> float:
        return self._passed_s

    async def sleep(self, seconds: float) -> None:
        await asyncio.Event().wait()

    async def pass_time(self, seconds: float) -> None:
        self._passed_s += seconds
        self._now += timedelta(seconds=seconds)
        await asyncio.sleep(0)
