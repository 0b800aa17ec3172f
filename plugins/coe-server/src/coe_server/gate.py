"""The gate before turns: as many run at once as the process can bear, and some wait their turn.

How many it can bear is told by the event loop: when what is due comes late twice in a row, there is
too much to do for one processor, whatever the models' speed, and fewer turns run until it is on
time again. Additive increase and multiplicative decrease, as in TCP (RFC 5681, 3.1).
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter, deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from attrs import define, field

from coe_core.contract import Sample
from coe_core.error import Overloaded
from coe_server.settings import Settings

TICK_S = 0.1
LATE_S = 0.05
"""How late the event loop may be: a stream's reader does not notice."""
LEAST = 32
"""So many turns always run at once."""
GROWTH, SHRINKAGE = 1.1, 0.8


@define(eq=False)
class Gate:
    """Lets turns in, fairly between groups: who waits is let in before others of groups that have
    more turns running, and when too many wait the group that has most of them is refused.

    It is also the `Monitor` of what it counts.
    """

    settings: Settings
    name: str = "gate"
    _limit: float = field(init=False)
    _running: Counter[str] = field(factory=Counter, init=False)
    _waiting: dict[str, deque[asyncio.Future[None]]] = field(factory=dict, init=False)
    """By group, none of them empty; the group that was served last stands last."""
    _refused: int = field(default=0, init=False)
    _was_late: bool = field(default=False, init=False)
    _timer: asyncio.TimerHandle | None = field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        """Begin with what the settings allow."""
        self._limit = self.settings.turns_limit

    async def open(self) -> None:
        self._tick(asyncio.get_running_loop().time())

    async def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    @property
    def running(self) -> int:
        """How many turns run."""
        return self._running.total()

    @property
    def waiting(self) -> int:
        """How many wait."""
        return sum(map(len, self._waiting.values()))

    @asynccontextmanager
    async def passing(self, group: str) -> AsyncIterator[None]:
        """Let a turn of a group run for as long as the block. Raises `Overloaded`."""
        if self._waiting or self.running >= self._limit:
            await self._wait(group)
        else:
            self._running[group] += 1
        try:
            yield
        finally:
            self._leave(group)

    def adapt(self, late_s: float) -> None:
        """Let more or fewer turns run, now that the event loop was so late."""
        is_late = late_s > LATE_S
        if is_late and self._was_late:
            bearable = max(LEAST, SHRINKAGE * min(self._limit, self.running))
            self._limit = min(self._limit, bearable)
        elif not is_late:
            self._limit = min(self.settings.turns_limit, GROWTH * self._limit)
            self._let_in()
        self._was_late = is_late

    async def measure(self) -> Sequence[Sample]:
        now = datetime.now(UTC)
        measured = {
            "coe_server_turns_running": self.running,
            "coe_server_turns_waiting": self.waiting,
            "coe_server_turns_limit": int(self._limit),
            "coe_server_turns_refused_total": self._refused,
        }
        worker = {"worker": str(os.getpid())}  # Another's counter is not this one's, fallen back.
        return [
            Sample(metric=name, value=value, at=now, labels=worker)
            for name, value in measured.items()
        ]

    async def _wait(self, group: str) -> None:
        if self.waiting >= self.settings.queue_limit:
            self._make_room(group)
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(group, deque()).append(place)
        try:
            async with asyncio.timeout(self.settings.queue_timeout_s):
                await place
        except BaseException as error:
            if place.done() and not place.cancelled() and place.exception() is None:
                self._leave(group)  # It was let in, in the moment in which it gave up.
            else:
                self._drop(group, place)
            if isinstance(error, TimeoutError):
                raise self._refusal() from None
            raise

    def _make_room(self, group: str) -> None:
        """Refuse the newcomer, or else the last who came of the group that has most waiting."""
        longest = max(self._waiting, key=lambda name: len(self._waiting[name]), default=group)
        queue = self._waiting.get(longest, deque())
        if len(queue) <= len(self._waiting.get(group, ())) + 1:
            raise self._refusal()
        (last := queue[-1]).set_exception(self._refusal())
        self._drop(longest, last)

    def _drop(self, group: str, place: asyncio.Future[None]) -> None:
        queue = self._waiting.get(group, deque())
        if place in queue:
            queue.remove(place)
        if not queue:
            self._waiting.pop(group, None)

    def _leave(self, group: str) -> None:
        self._running[group] -= 1
        if not self._running[group]:
            del self._running[group]
        self._let_in()

    def _let_in(self) -> None:
        while self._waiting and self.running < self._limit:
            group = min(self._waiting, key=lambda name: self._running[name])
            queue = self._waiting.pop(group)
            place = queue.popleft()
            if queue:
                self._waiting[group] = queue
            if not place.done():
                self._running[group] += 1
                place.set_result(None)

    def _refusal(self) -> Overloaded:
        self._refused += 1
        return Overloaded(
            "the server has more to do than it can; send the request again after a pause",
            retry_after_s=self.settings.queue_timeout_s,
        )

    def _tick(self, due_s: float) -> None:
        loop = asyncio.get_running_loop()
        self.adapt(loop.time() - due_s)
        next_s = loop.time() + TICK_S
        self._timer = loop.call_at(next_s, self._tick, next_s)
