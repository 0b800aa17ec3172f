"""Charts: a series as a line, in the units of an SVG's view box."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from attrs import frozen

from coe_core.panel import Series, Stat

WIDTH, HEIGHT = 600.0, 120.0
SMALL_WIDTH, SMALL_HEIGHT = 200.0, 32.0


@frozen
class Chart:
    """What is drawn of a series: one line for each stretch without a gap."""

    lines: tuple[str, ...]
    """For `polyline`: x and y of each point, from the upper left."""
    areas: tuple[str, ...]
    """For `polygon`: what is beneath each line."""
    low: float
    high: float

    @classmethod
    def of(cls, series: Series) -> Chart:
        """Scale a series into the view box."""
        return cls._of([value for _, value in series.points], WIDTH, HEIGHT)

    @classmethod
    def small(cls, stat: Stat) -> Chart:
        """Scale a figure's trend into a small one."""
        return cls._of(stat.trend, SMALL_WIDTH, SMALL_HEIGHT)

    @classmethod
    def _of(cls, values: Sequence[float | None], width: float, height: float) -> Chart:
        known = [value for value in values if value is not None]
        low, high = (min(known), max(known)) if known else (0.0, 0.0)
        if 0 <= low <= high / 2:
            low = 0.0  # A small part of it shall look like one.
        span, last = (high - low) or 1.0, max(len(values) - 1, 1)
        places = [
            None
            if value is None
            else (number / last * width, height - (value - low) / span * height)
            for number, value in enumerate(values)
        ]
        stretches = [
            [place for place in stretch if place is not None]
            for is_gap, stretch in groupby(places, key=lambda place: place is None)
            if not is_gap
        ]
        # A point alone is drawn as a line to itself, which its round ends make visible.
        lines = tuple(_path(s * 2 if len(s) == 1 else s) for s in stretches)
        areas = tuple(_path([(s[0][0], height), *s, (s[-1][0], height)]) for s in stretches)
        return cls(lines, areas, low, high)


def _path(places: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
