"""Locks between processes: `flock`, which the kernel releases when the holder dies."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from threading import Thread


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


class Held(OSError):
    """Another process has not let go of a lock for too long; it may be stopped."""


@contextmanager
def locked(path: Path, timeout_s: float | None = None) -> Iterator[None]:
    """Hold the lock of a file, after waiting for it: the kernel wakes who waits, at once.

    Raises `Held` when it is not to be had within that time.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    if timeout_s is not None and not try_lock(fd):
        _wait(fd, timeout_s)
    try:
        if timeout_s is None:
            fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _wait(fd: int, timeout_s: float) -> None:
    """Take the lock of a file, or close it. The kernel knows no time limit, so a thread waits."""
    waiting: Future[None] = Future()

    def wait() -> None:
        fcntl.flock(fd, fcntl.LOCK_EX)
        if not waiting.set_running_or_notify_cancel():
            os.close(fd)
            return
        waiting.set_result(None)

    Thread(target=wait, name="coe-lock", daemon=True).start()
    try:
        waiting.result(timeout_s)
    except TimeoutError:
        if waiting.cancel():
            raise Held(f"another process has held the log for {timeout_s:g} s") from None
        waiting.result()
