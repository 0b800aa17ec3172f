"""The Wilson score interval of a share (E. B. Wilson, JASA 22, 1927)."""

from __future__ import annotations

from math import sqrt

Z = 1.959963984540054
"""Of 95 %."""


def wilson(successes: int, trials: int) -> tuple[float, float] | None:
    """Return the bounds between which the true share lies, None without trials."""
    if trials == 0:
        return None
    share, zz = successes / trials, Z * Z
    middle = share + zz / (2 * trials)
    spread = Z * sqrt((share * (1 - share) + zz / (4 * trials)) / trials)
    scale = 1 + zz / trials
    low = (middle - spread) / scale if successes else 0.0
    return low, (middle + spread) / scale if successes < trials else 1.0
