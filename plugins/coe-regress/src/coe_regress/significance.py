"""Whether two rates differ: Fisher's exact test, two-sided (R. A. Fisher, 1922), of which it is no
matter how few repeats there are; over several cases, S. Holm's correction (1979).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import comb

LEVEL = 0.05
"""A difference is called real when it would be seen by chance less often than this."""


def fisher(successes: int, n: int, before: int, n_before: int) -> float:
    """Return the probability of a difference at least so unlikely if there were none: the sum over
    all tables with these margins that are no likelier than the one seen.
    """
    together = successes + before
    whole = comb(n + n_before, together)
    if not whole:
        return 1.0
    ways = [
        comb(n, k) * comb(n_before, together - k)
        for k in range(max(0, together - n_before), min(n, together) + 1)
    ]
    seen = comb(n, successes) * comb(n_before, before)
    return sum(each for each in ways if each <= seen) / whole


def holm(probabilities: Sequence[float]) -> list[float]:
    """Adjust probabilities for their number: no case is called different by mere many."""
    order = sorted(range(len(probabilities)), key=lambda index: probabilities[index])
    adjusted = [1.0] * len(probabilities)
    worst = 0.0
    for rank, index in enumerate(order):
        worst = max(worst, min(1.0, probabilities[index] * (len(order) - rank)))
        adjusted[index] = worst
    return adjusted


def repeats_needed() -> int:
    """Return how many repeats on either side can show a difference at all: from never to always."""
    return next(n for n in range(1, 100) if fisher(n, n, 0, n) < LEVEL)
