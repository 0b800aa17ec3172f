"""Rates: the requests and tokens of a group in any one minute, counted for all workers together.

A worker takes a lease on a part of what the minute has left from the state store and admits from
it in memory, so that a request seldom costs a write. A lease counts in full until it is written
what was used of it and when; that of a worker that died counts until a minute after its end. So
whoever runs and whoever dies, no minute sees more than the limit.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from attrs import define, field, frozen
from loguru import logger

from coe_core.error import Conflict, RateLimited, Unavailable

if TYPE_CHECKING:
    from coe_core.service import Clock, StateStore
    from coe_core.settings import GroupTable

MINUTE_S = 60
LEASE_S = 5
LEASES_PER_MINUTE = 50
"""A lease is at least this part of the limit, so that a busy worker writes seldom; it is no larger,
because what an idle worker leased is lost to the others for a minute.
"""
REFUSAL_S = 1.0
"""How long a refusal stands without another look: a flood of requests is no flood of reads."""

Unit = Literal["requests", "tokens"]


@frozen(kw_only=True)
class Rate:
    """What a group has left of a minute's requests or tokens."""

    limit: int
    remaining: int
    reset_s: float
    """Until all of them are there again."""


@frozen(kw_only=True)
class RateLimits:
    """What a group has left of its requests and tokens per minute; None where it has no limit."""

    requests: Rate | None = None
    tokens: Rate | None = None


@define
class Window:
    """The last minute of a group as this worker knows it, with its lease. Times are whole Unix
    seconds, rounded up: what happened by then.
    """

    limit: int
    seen: dict[int, int] = field(factory=dict)
    """Second to the amount that was used by then, or is leased until then; our own lease too."""
    leased: int = 0
    leased_until: int = 0
    used: int = 0
    used_by: int = 0
    refused_until_s: float = 0.0
    lock: asyncio.Lock = field(factory=asyncio.Lock)

    def use(self, amount: int, now_s: float) -> None:
        """Count what was used of the lease; tokens may exceed it."""
        self.used += amount
        self.used_by = math.ceil(now_s)

    def has_free(self, now_s: float) -> bool:
        """Tell whether the lease is good and has something left."""
        return now_s <= self.leased_until and self.used < self.leased

    def taken(self, now_s: float) -> dict[int, int]:
        """Add up the minute, with what was used of our own lease in the lease's place."""
        taken = dict(self.seen)
        if self.leased_until in taken:
            taken[self.leased_until] -= self.leased
        taken[self.used_by] = taken.get(self.used_by, 0) + self.used
        return {at: amount for at, amount in taken.items() if amount and at + MINUTE_S > now_s}

    def wait_s(self, now_s: float) -> float:
        """Tell how long it is until something is free, if nobody takes more."""
        taken = self.taken(now_s)
        over = sum(taken.values()) - self.limit
        for at, amount in sorted(taken.items()):
            over -= amount
            if over < 0:
                return at + MINUTE_S - now_s
        return 0.0

    def rate(self, now_s: float) -> Rate:
        """Say what is left."""
        taken = self.taken(now_s)
        return Rate(
            limit=self.limit,
            remaining=max(0, self.limit - sum(taken.values())),
            reset_s=max(taken, default=now_s - MINUTE_S) + MINUTE_S - now_s,
        )


@define
class RateMeter:
    """The windows of one worker."""

    store: StateStore
    clock: Clock
    _windows: dict[tuple[str, Unit], Window] = field(factory=dict, init=False)

    async def admit(self, group: str, limits: GroupTable) -> RateLimits | None:
        """Count a request. Raises `RateLimited` with the seconds to wait and what is left."""
        windows = self._windows_of(group, limits)
        for unit, window in windows.items():
            if not await self._has_free(_key(group, unit), window):
                raise self._refusal(group, unit, windows)
        if "requests" in windows:
            windows["requests"].use(1, self._now_s())
        return self._left(windows)

    async def book_tokens(self, group: str, limits: GroupTable, tokens: int) -> None:
        """Count tokens after the fact: a minute that has its limit of them admits nothing."""
        if not tokens or (window := self._windows_of(group, limits).get("tokens")) is None:
            return
        window.use(tokens, self._now_s())
        if not window.has_free(self._now_s()):
            try:
                await asyncio.shield(self._renew(_key(group, "tokens"), window, booked=True))
            except Unavailable as error:  # They are booked with the next write.
                logger.bind(group=group, error=error.message).warning("tokens are not booked yet")

    async def _has_free(self, key: str, window: Window) -> bool:
        while not window.has_free(now_s := self._now_s()):
            if now_s < window.refused_until_s:
                return False
            # To the end, though the client leaves: of a write that is made nobody else may tell.
            await asyncio.shield(self._renew(key, window))
        return True

    async def _renew(self, key: str, window: Window, *, booked: bool = False) -> None:
        async with window.lock:
            now_s = self._now_s()
            if not booked and (window.has_free(now_s) or now_s < window.refused_until_s):
                return  # Somebody else has seen to it.
            await self._write(key, window)
            if not window.has_free(now_s):
                window.refused_until_s = now_s + min(REFUSAL_S, window.wait_s(now_s))

    async def _write(self, key: str, window: Window) -> None:
        """Write back what was used, and lease anew what the minute has, as one compare-and-set."""
        while True:
            current = await self.store.get(key)
            now_s, used = self._now_s(), window.used
            window.seen = {int(at): amount for at, amount in (current.value or {}).items()}
            taken = window.taken(now_s)
            share = max(1, window.limit // LEASES_PER_MINUTE)
            leased = max(0, min(share, window.limit - sum(taken.values())))
            until = math.ceil(now_s) + LEASE_S
            taken[until] = taken.get(until, 0) + leased
            value = {str(at): amount for at, amount in taken.items() if amount}
            try:
                if value != (current.value or {}):
                    await self.store.put(key, value, expect=current.version)
            except Conflict:
                continue
            window.seen, window.used = taken, window.used - used
            window.leased, window.leased_until = leased, until
            return

    def _windows_of(self, group: str, limits: GroupTable) -> dict[Unit, Window]:
        """Return those that are limited, tokens first: without any left, no request is counted."""
        limited: dict[Unit, int | None] = {"tokens": limits.tpm, "requests": limits.rpm}
        windows = {}
        for unit, limit in limited.items():
            if limit is not None:
                windows[unit] = self._windows.setdefault((group, unit), Window(limit))
                windows[unit].limit = limit
        return windows

    def _refusal(self, group: str, unit: Unit, windows: Mapping[Unit, Window]) -> RateLimited:
        window, now_s = windows[unit], self._now_s()
        wait_s = max(window.wait_s(now_s), window.refused_until_s - now_s)
        return RateLimited(
            f"the group {group!r} has used its {window.limit} {unit} per minute; "
            f"try again in {wait_s:.1f} s",
            retry_after_s=wait_s,
            limits=self._left(windows),
        )

    def _left(self, windows: Mapping[Unit, Window]) -> RateLimits | None:
        now_s = self._now_s()
        left = {unit: window.rate(now_s) for unit, window in windows.items()}
        return RateLimits(**left) if left else None

    def _now_s(self) -> float:
        """Tell the time that all workers share."""
        return self.clock.now().timestamp()


def _key(group: str, unit: Unit) -> str:
    return f"rates/{group}/{unit}"
