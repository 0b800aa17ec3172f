"""The slots of a model: how many answers it writes at once, and for whom."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from attrs import define, field, frozen

from coe_models_local.queue import FairQueue


@frozen
class Lease:
    """A slot, lent for one answer."""

    number: int
    is_warm: bool
    """Whether the group had the slot before: only then may its cache be read. Another group's
    would tell, by its speed and its count of cached tokens, what that group has asked.
    """


@define
class Slots:
    """Lends slots to groups in turn."""

    _free: dict[int, str | None]
    # Free slots to the group that had them last, the one that is free for longest first.
    _queue: FairQueue[asyncio.Future[Lease]] = field(factory=FairQueue, init=False)

    @classmethod
    def of(cls, count: int) -> Slots:
        """Make so many slots."""
        return cls(dict.fromkeys(range(count)))

    @asynccontextmanager
    async def take(self, group: str) -> AsyncIterator[Lease]:
        """Wait for the group's turn and a free slot."""
        place: asyncio.Future[Lease] = asyncio.get_running_loop().create_future()
        self._queue.push(group, place)
        self._lend()
        try:
            lease = await place
        except asyncio.CancelledError:
            if place.cancelled():
                self._queue.discard(group, place)
            else:  # lent and cancelled in the same breath
                self._give_back(place.result().number, None)
            raise
        try:
            yield lease
        finally:
            self._give_back(lease.number, group)

    def _give_back(self, number: int, group: str | None) -> None:
        self._free[number] = group
        self._lend()

    def _lend(self) -> None:
        while self._free and self._queue:
            group, place = self._queue.pop()
            number = self._choose(group)
            place.set_result(Lease(number, is_warm=self._free.pop(number) == group))

    def _choose(self, group: str) -> int:
        """Choose the slot that the group had before, else the one that is free for longest."""
        warm = (number for number, owner in self._free.items() if owner == group)
        return next(warm, next(iter(self._free)))
