"""A deployment that nobody composes anew, for tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from attrs import define, field

from coe_core import toggle
from coe_core.application import Application
from coe_core.message import Json
from coe_core.service import StateStore


@define(eq=False)
class StandingDeployment:
    """A `Deployment` of one application, which stays whatever is changed: a change is only kept
    and recorded.
    """

    application: Application
    leases: int = field(default=0, init=False)
    """How many are held."""

    def lease(self) -> AbstractAsyncContextManager[Application]:
        """Lease the application."""
        return self._leased()

    async def change(self, key: str, value: Json, *, actor: str) -> None:
        """Put the change into the application's state store and its record."""
        toggle.check(self.application, key, value)
        await self.application.need(StateStore).put(key, value)
        await toggle.record(self.application, key, value, actor)

    @asynccontextmanager
    async def _leased(self) -> AsyncIterator[Application]:
        self.leases += 1
        try:
            yield self.application
        finally:
            self.leases -= 1
