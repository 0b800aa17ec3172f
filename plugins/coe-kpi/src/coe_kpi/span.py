"""Spans: the buckets that numbers are added up in, and how a stretch of time is made of them."""

from __future__ import annotations

from collections.abc import Iterator

from attrs import frozen

MINUTE, HOUR, DAY = 1, 60, 1440
SPANS = (MINUTE, HOUR, DAY)
"""In minutes, of UTC."""


@frozen
class Piece:
    """Consecutive buckets of one span, the first and the one behind the last, in minutes."""

    span: int
    since: int
    until: int


def pieces(since: int, until: int) -> Iterator[Piece]:
    """Cover a stretch of minutes exactly, with as few buckets as there can be."""
    yield from _pieces(since, until, len(SPANS) - 1)


def _pieces(since: int, until: int, rank: int) -> Iterator[Piece]:
    span = SPANS[rank]
    first, last = -(-since // span) * span, until // span * span
    if rank == 0 or first >= last:
        if since < until:
            yield from [Piece(span, since, until)] if rank == 0 else _pieces(since, until, rank - 1)
        return
    yield from _pieces(since, first, rank - 1)
    yield Piece(span, first, last)
    yield from _pieces(last, until, rank - 1)
