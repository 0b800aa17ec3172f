"""The time of a replay: it stands still but for what was recorded to take time."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from datetime import datetime, timedelta

from attrs import define, field

IN_TURN: ContextVar[bool] = ContextVar("in_turn", default=False)
"""Whether the turn itself asks: what its parts do in the background waits for ever, as no time
passes between turns.
"""


@define
class ReplayClock:
    """A `Clock` that is where the turn began; to sleep on it takes no time."""

    _now: datetime
    _passed_s: float = field(default=0.0, init=False)

    def now(self) -> datetime:
        return self._now

    def monotonic_s(self) -> float:
        return self._passed_s

    async def sleep(self, seconds: float) -> None:
        if not IN_TURN.get():
            await asyncio.Event().wait()
        self.advance(seconds)
        await asyncio.sleep(0)

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self._passed_s += max(0.0, seconds)
        self._now += timedelta(seconds=max(0.0, seconds))
