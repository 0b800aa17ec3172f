"""The machine's own clock."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime

from attrs import frozen


@frozen
class SystemClock:
    """The `Clock` of every deployment."""

    def now(self) -> datetime:
        """Tell the time: aware, UTC."""
        return datetime.now(UTC)

    def monotonic_s(self) -> float:
        """Count seconds, never backwards."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)
