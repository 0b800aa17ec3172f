"""Ids: UUIDv7, so that they sort by the time they were made; sessions may be named by clients."""

from __future__ import annotations

import os
import time
import unicodedata
from collections import deque
from typing import NewType

from coe_core.error import InvalidField

TurnId = NewType("TurnId", str)
SessionId = NewType("SessionId", str)
AttemptId = NewType("AttemptId", str)


LONGEST_SESSION_NAME = 256
MOST_COMPOSED = 4
"""NFC makes one letter of at most four: a Greek one with three marks."""
JOINERS = {0x200C: None, 0x200D: None}
"""Unprintable by themselves, but parts of Persian words and of emoji."""


def named_session(name: str) -> SessionId:
    """Return the session that a client names: 1 to 256 printable characters of any script.

    In NFC, so that both ways to write a letter name the same session. Raises `InvalidField`.
    """
    written = unicodedata.normalize("NFC", name[: MOST_COMPOSED * LONGEST_SESSION_NAME + 1])
    is_fit = written == written.strip() and written.translate(JOINERS).isprintable()
    if not is_fit or not 0 < len(written) <= LONGEST_SESSION_NAME:
        raise InvalidField(
            f"a session's name is 1 to {LONGEST_SESSION_NAME} printable characters, no space at "
            "its ends"
        )
    return SessionId(written)


CHANCE_BYTES = 12
_chances: deque[bytes] = deque()
"""What chance has given and nobody has used yet: a call of the system for each id would cost more
than the id itself.
"""
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_chances.clear)  # Or two workers would make the same ids.


def chance() -> bytes:
    """Return 96 random bits of the system's own generator. May be called by any thread."""
    try:
        return _chances.pop()
    except IndexError:
        made = os.urandom(256 * CHANCE_BYTES)
        starts = range(CHANCE_BYTES, len(made), CHANCE_BYTES)
        _chances.extend(made[start : start + CHANCE_BYTES] for start in starts)
        return made[:CHANCE_BYTES]


def uuid7(at_ms: int | None = None) -> str:
    """Make a UUIDv7 (RFC 9562, 5.7) for now, or for `at_ms` in Unix milliseconds."""
    stamp = time.time_ns() // 1_000_000 if at_ms is None else at_ms
    bits = int.from_bytes(chance())
    high, low = bits >> 84, bits & ((1 << 62) - 1)
    digits = f"{(stamp << 80) | (0x7 << 76) | (high << 64) | (0b10 << 62) | low:032x}"
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
