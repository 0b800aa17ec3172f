"""Leases: some work is one worker's at a time, until it gives it back or has died."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta

from attrs import define, field
from loguru import logger

from coe_core.codec import rfc3339
from coe_core.error import CoeError, Conflict
from coe_core.identity import uuid7
from coe_core.service import Clock, StateStore

LEASE_TIME = timedelta(seconds=30)
"""How long after its death a worker's work waits for another."""


@asynccontextmanager
async def leased(store: StateStore, clock: Clock, work: str) -> AsyncIterator[bool]:
    """Have some work for oneself until the block ends; False when somebody else has it.

    A worker that stands still for longer than a lease may find that another has begun the same
    work, so it must bear that.
    """
    lease = WorkLease(store, clock, f"leases/{work}")
    if not await lease.take():
        yield False
        return
    renewing = asyncio.create_task(lease.renew())
    try:
        yield True
    finally:
        renewing.cancel()
        await asyncio.gather(renewing, return_exceptions=True)
        await lease.give_back()


@define
class WorkLease:
    """One worker's lease, as a value in the state store."""

    _store: StateStore
    _clock: Clock
    _key: str
    _holder: str = field(factory=uuid7, init=False)
    _version: int = field(default=0, init=False)

    async def take(self) -> bool:
        """Take it, unless another worker has it and renews it."""
        found = await self._store.get(self._key)
        now = self._clock.now()
        if found.value is not None and datetime.fromisoformat(found.value["until"]) > now:
            return False
        try:
            await self._write(expect=found.version)
        except Conflict:
            return False
        return True

    async def renew(self) -> None:
        """Keep it, until cancelled or until somebody has taken it."""
        while True:
            await self._clock.sleep(LEASE_TIME.total_seconds() / 3)
            try:
                await self._write(expect=self._version)
            except Conflict:
                logger.bind(lease=self._key).warning("a lease was lost: its worker stood still")
                return
            except CoeError as error:
                logger.bind(lease=self._key, code=error.code).warning("a lease was not renewed")

    async def give_back(self) -> None:
        """Let others have it at once; if even that fails it runs out by itself."""
        try:
            await self._store.put(self._key, None, expect=self._version)
        except CoeError as error:
            logger.bind(lease=self._key, code=error.code).warning("a lease was not given back")

    async def _write(self, *, expect: int) -> None:
        value = {"holder": self._holder, "until": rfc3339(self._clock.now() + LEASE_TIME)}
        self._version = (await self._store.put(self._key, value, expect=expect)).version
