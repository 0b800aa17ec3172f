"""A bit that changed by itself, on a disk or in memory: found again by the checksum."""

from __future__ import annotations

from hashlib import sha256

LONGEST_BYTES = 1 << 15
"""Of what is searched: the time grows with the square of the length, to some seconds here."""

_BLOCK = 64


def changed_bit(raw: bytes, checksum: str) -> int | None:
    """Tell which bit, counted from the first byte's lowest, must be turned for the bytes to have
    that SHA-256; None if no single one will do.
    """
    if len(raw) > LONGEST_BYTES:
        return None
    wanted, tried, done = bytes.fromhex(checksum), bytearray(raw), sha256()
    rest = memoryview(tried)
    for bit in range(8 * len(raw)):
        at = bit // 8
        if bit and bit % (8 * _BLOCK) == 0:
            done.update(rest[at - _BLOCK : at])
        tried[at] ^= 1 << bit % 8
        digest = done.copy()
        digest.update(rest[at - at % _BLOCK :])
        if digest.digest() == wanted:
            return bit
        tried[at] ^= 1 << bit % 8
    return None
