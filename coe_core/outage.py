"""What the server's log is told of something that fails as long as nobody mends it."""

from __future__ import annotations

import time
from collections.abc import Callable

from attrs import define
from loguru import logger

EVERY_S = 60.0


@define
class Outage:
    """Tells when it begins, each minute while it lasts, and when it is over: not each time that
    somebody meets it, which under load are thousands.
    """

    _broken: str
    _mended: str
    _now_s: Callable[[], float] = time.monotonic
    _is_on: bool = False
    _next_s: float = float("-inf")

    def met(self, error: object, **where: str) -> None:
        """Note that it is so, and why: with all that an operator must know."""
        self._is_on = True
        if (now_s := self._now_s()) >= self._next_s:
            self._next_s = now_s + EVERY_S
            logger.opt(depth=1).bind(error=str(error), **where).error(self._broken)

    def ended(self) -> None:
        """Note that it is not so, or not any more."""
        if self._is_on:
            self._is_on = False
            logger.opt(depth=1).warning(self._mended)
