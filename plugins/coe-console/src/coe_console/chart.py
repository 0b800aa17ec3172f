"""Charts: a series as a line, in the units of an SVG's view box."""

from __future__ import annotations

from itertools import groupby

from attrs import frozen

from coe_core.panel import Series

WIDTH = 600.0
HEIGHT = 120.0


@frozen
class Chart:
    """What is drawn of a series: one line for each stretch without a gap."""

    lines: tuple[str, ...]
    """For `polyline`: x and y of each point, from the upper left."""
    low: float
    high: float

    @classmethod
    def of(cls, series: Series) -> Chart:
        """Scale a series into the view box; its lowest value is at the foot."""
        known = [value for _, value in series.points if value is not None]
        low, high = (min(known), max(known)) if known else (0.0, 0.0)
        span, last = (high - low) or 1.0, max(len(series.points) - 1, 1)
        places = [
            None
            if value is None
            else f"{number / last * WIDTH:.1f},{HEIGHT - (value - low) / span * HEIGHT:.1f}"
            for number, (_, value) in enumerate(series.points)
        ]
        stretches = [
            [place for place in stretch if place is not None]
            for is_gap, stretch in groupby(places, key=lambda place: place is None)
            if not is_gap
        ]
        # A point alone is drawn as a line to itself, which its round ends make visible.
        return cls(tuple(" ".join(s * 2 if len(s) == 1 else s) for s in stretches), low, high)
