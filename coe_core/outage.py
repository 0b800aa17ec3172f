"""What the server's log is told of something that fails as long as nobody mends it."""

from __future__ import annotations

import time
from collections.abc import Callable

from attrs import define
from loguru import logger

EVERY_S = 60.0
CALM_S = 3.0
"""On a full disk what is small still succeeds now and then: that is no end."""


@define
class Outage:
    """Tells when it begins, each minute while it lasts, and when it is over: not each time that
    somebody meets it, which under load are thousands.
    """

    _broken: str
    _mended: str
    _now_s: Callable[[], float] = time.monotonic
    _is_on: bool = False
    _met_s: float = 0.0
    """When it was met last."""
    _told_s: float = 0.0

    def met(self, error: object, **where: str) -> None:
        """Note that it is so, and why: with all that an operator must know."""
        self._met_s = self._now_s()
        if not self._is_on or self._met_s >= self._told_s + EVERY_S:
            self._is_on, self._told_s = True, self._met_s
            logger.opt(depth=1).bind(error=str(error), **where).error(self._broken)

    def passed(self) -> None:
        """Note a success. It is over if nobody has met it just before."""
        if self._is_on and self._now_s() >= self._met_s + CALM_S:
            self._is_on = False
            logger.opt(depth=1).warning(self._mended)
