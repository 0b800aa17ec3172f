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


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def try_lock_path(path: Path) -> int | None:
    """Open a lock file and take its lock; None if somebody else has it. Closing releases it."""
    fd = _open(path)
    if try_lock(fd):
        return fd
    os.close(fd)
    return None


class Held(OSError):
    """Another process has not let go of a lock for too long; it may be stopped."""


def lock_path(path: Path, timeout_s: float | None = None) -> int:
    """Open a lock file and take its lock, after waiting for it: the kernel wakes who waits, at
    once. Closing releases it. Raises `Held` when it is not to be had within that time.
    """
    fd, waiting = _open(path), Future[None]()
    if timeout_s is None:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
        except BaseException:
            os.close(fd)
            raise
        return fd
    # The kernel knows no time limit, so a thread waits.

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
    return fd


@contextmanager
def locked(path: Path, timeout_s: float | None = None) -> Iterator[None]:
    """Hold the lock of a file, after waiting for it. Raises `Held` as `lock_path` does."""
    fd = try_lock_path(path)
    if fd is None:
        fd = lock_path(path, timeout_s)
    try:
        yield
    finally:
        os.close(fd)
