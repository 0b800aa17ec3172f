"""The exchange: workers tell each other, through the state store, whom to leave alone.

A turn never waits for it. What one worker has seen holds in the others when the store has told
them, within a second; until then, and while the store fails, each decides by its own breakers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from attrs import define, field
from loguru import logger

from coe_core.codec import structure, unstructure
from coe_core.service import StateStore, Versioned
from coe_fallback.breaker import CLOSED, Breaker, Breakers

PREFIX = "breakers/"
"""Where the state store has the breakers that are not closed, by alias."""
AGAIN_S = 1.0
"""How long a store that fails is left alone."""


@define(eq=False)
class Exchange:
    """Tells the others what changes here, and takes over what changes there."""

    breakers: Breakers
    store: StateStore
    _tasks: tuple[asyncio.Task[None], ...] = field(default=(), init=False)

    async def open(self) -> None:
        """Begin, with what the others know already."""
        self.hear(await self.store.list(PREFIX))
        self._tasks = (asyncio.create_task(self._tell()), asyncio.create_task(self._hear()))

    async def close(self) -> None:
        """Tell what is left to tell, if that can be, and end."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        try:
            await self.tell()
        except Exception as error:
            _failed(error)

    async def tell(self) -> None:
        """Write what the others do not know."""
        for alias, breaker in self.breakers.untold().items():
            value = None if breaker == CLOSED else unstructure(breaker)
            await self.store.put(PREFIX + alias, value)
            self.breakers.told(alias, breaker)

    def hear(self, values: Mapping[str, Versioned]) -> None:
        """Take over what the store has."""
        self.breakers.adopt(read(values))

    async def _tell(self) -> None:
        while True:
            await self.breakers.changed.wait()
            self.breakers.changed.clear()
            try:
                await self.tell()
            except Exception as error:
                await self._rest(error)
                self.breakers.changed.set()

    async def _hear(self) -> None:
        while True:
            try:
                async for values in self.store.watch(PREFIX):
                    self.hear(values)
            except Exception as error:
                await self._rest(error)
            else:
                return  # The store is closed.

    async def _rest(self, error: Exception) -> None:
        _failed(error)
        await self.breakers.clock.sleep(AGAIN_S)


def _failed(error: Exception) -> None:
    logger.opt(exception=error).warning("breakers are not shared: the state store failed")


def read(values: Mapping[str, Versioned]) -> dict[str, Breaker]:
    """Read breakers as the store has them, by alias."""
    return {
        key.removeprefix(PREFIX): structure(versioned.value, Breaker)
        for key, versioned in values.items()
    }
