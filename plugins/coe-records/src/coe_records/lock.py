"""Locks between processes: `flock`, which the kernel releases when the holder dies."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def try_lock(fd: int) -> bool:
    """Take the lock of an open file, unless somebody else has it."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def try_lock_path(path: Path) -> int | None:
    """Open a lock file and take its lock; None if somebody else has it. Closing releases it."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    if try_lock(fd):
        return fd
    os.close(fd)
    return None


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of a file, after waiting for it: the kernel wakes who waits, at once."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)
