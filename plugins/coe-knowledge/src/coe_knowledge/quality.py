"""The quality of a card: one number from 0 to 1 of what people said of the answers that cite it."""

from __future__ import annotations


def quality(rated: int, helped: int, hurt: int) -> float | None:
    """Return the share of ratings that are good, one that says neither being half of one; None
    where there are none.

    To them one good and one bad are added (Laplace's rule of succession: the mean of the
    posterior after a uniform prior), so that a single rating moves it to a third or two thirds, and
    many make it what they say. How sure it is, `feedback_count` tells.
    """
    if not rated:
        return None
    neither = rated - helped - hurt
    return (helped + neither / 2 + 1) / (rated + 2)
