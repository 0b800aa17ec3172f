"""What was measured lately: the newest values, for quantiles."""

from __future__ import annotations

import time
from asyncio import Future
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from attrs import define, field

SPAN_S = 300.0
MOST_VALUES = 4096
"""Of a busy journal these are the newest, some seconds' worth."""


@define
class Window:
    """Durations of the last minutes. Written by one thread, read by another."""

    clock_s: Callable[[], float] = time.monotonic
    _values: deque[tuple[float, float]] = field(
        factory=lambda: deque[tuple[float, float]](maxlen=MOST_VALUES), init=False
    )

    @contextmanager
    def timing(self) -> Iterator[None]:
        """Measure a block, unless it raises."""
        began_s = self.clock_s()
        yield
        ended_s = self.clock_s()
        self._values.append((ended_s, ended_s - began_s))

    def measure(self, future: Future[Any]) -> None:
        """Measure until a future is done, unless it raises."""
        began_s = self.clock_s()

        def ends(future: Future[Any]) -> None:
            if not future.cancelled() and future.exception() is None:
                ended_s = self.clock_s()
                self._values.append((ended_s, ended_s - began_s))

        future.add_done_callback(ends)

    def quantiles(self, *wanted: float) -> dict[float, float]:
        """Return the nearest-rank quantiles; none when nothing was measured lately."""
        since_s = self.clock_s() - SPAN_S
        values = sorted(value for at_s, value in self._values.copy() if at_s >= since_s)
        if not values:
            return {}
        return {q: values[min(int(q * len(values)), len(values) - 1)] for q in wanted}
