"""Ids: UUIDv7, so that they sort by the time they were made."""

from __future__ import annotations

import secrets
import time
import uuid
from typing import NewType

TurnId = NewType("TurnId", str)
SessionId = NewType("SessionId", str)
AttemptId = NewType("AttemptId", str)


def uuid7(at_ms: int | None = None) -> str:
    """Make a UUIDv7 (RFC 9562, 5.7) for now, or for `at_ms` in Unix milliseconds."""
    stamp = time.time_ns() // 1_000_000 if at_ms is None else at_ms
    number = (stamp << 80) | (0x7 << 76) | (0b10 << 62) | secrets.randbits(62)
    return str(uuid.UUID(int=number | (secrets.randbits(12) << 64)))
