"""Ids: UUIDv7, so that they sort by the time they were made; sessions may be named by clients."""

from __future__ import annotations

import secrets
import time
import unicodedata
import uuid
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


def uuid7(at_ms: int | None = None) -> str:
    """Make a UUIDv7 (RFC 9562, 5.7) for now, or for `at_ms` in Unix milliseconds."""
    stamp = time.time_ns() // 1_000_000 if at_ms is None else at_ms
    number = (stamp << 80) | (0x7 << 76) | (0b10 << 62) | secrets.randbits(62)
    return str(uuid.UUID(int=number | (secrets.randbits(12) << 64)))
