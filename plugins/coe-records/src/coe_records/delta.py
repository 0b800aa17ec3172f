"""Deltas: which turns each summary of a conversation adds to the one before.

A conversation is summarized from its beginning on, so that what a delta holds follows from the
turns alone: whenever it is made, by whomever, and in whichever fork of the conversation, it is the
same one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from coe_core.identity import TurnId

Turns = Sequence[tuple[TurnId, int]]
"""Turns, the oldest first, each with its number of messages."""


def is_long(messages: int, window: int) -> bool:
    """Tell whether it is time for a summary: three quarters of the window are full, so that
    nothing is left behind while one is made.
    """
    return messages > window - window // 4


def deltas(turns: Turns, window: int) -> Iterator[tuple[TurnId, ...]]:
    """Divide what no summary covers; the newest turns, half of a window or so, are in no delta."""
    left, end = sum(messages for _, messages in turns), 0
    while is_long(left, window):
        start, size = end, 0
        while size < window - window // 2 and end < len(turns) - 1:
            size += turns[end][1]
            end += 1
        if size < window - window // 2:
            return  # The next turn decides how far this delta goes.
        yield tuple(turn_id for turn_id, _ in turns[start:end])
        left -= size
