"""A limit on waits that follow one another, kept by one timer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, Self, TypeVar

from attrs import define, field

T = TypeVar("T")


@define(eq=False)
class Deadline:
    """Limits one wait after the other, as `asyncio.timeout_at` limits one: an answer has a wait for
    each of its pieces. The timer is not moved with the end of each wait; when it goes off too early
    it is set again.

    Used as a context manager, so that no timer is left behind.
    """

    _loop: asyncio.AbstractEventLoop = field(factory=asyncio.get_running_loop, init=False)
    _timer: asyncio.TimerHandle | None = field(default=None, init=False)
    _until_s: float = field(default=0.0, init=False)
    _waiting: asyncio.Task[Any] | None = field(default=None, init=False)
    _expired: bool = field(default=False, init=False)

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(self, *_: object) -> None:
        """Take the timer back."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    async def wait(self, awaitable: Awaitable[T], until_s: float) -> T:
        """Wait, but not beyond `until_s` on the event loop's clock. Raises `TimeoutError`."""
        if (task := asyncio.current_task()) is None:
            raise RuntimeError("only a task can be limited")
        cancelling = task.cancelling()
        self._waiting, self._until_s, self._expired = task, until_s, False
        if self._timer is None or self._timer.when() > until_s:
            self._set()
        try:
            return await awaitable
        except asyncio.CancelledError as cancelled:
            if self._expired:
                self._expired = False
                if task.uncancel() <= cancelling:
                    raise TimeoutError from cancelled
            raise
        finally:
            self._waiting = None
            if self._expired:  # What was awaited ended in the same moment.
                task.uncancel()

    def _set(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(self._until_s, self._go_off)

    def _go_off(self) -> None:
        self._timer = None
        if self._waiting is None:
            return
        if self._until_s > self._loop.time():
            self._set()
        else:
            self._expired = True
            self._waiting.cancel()
