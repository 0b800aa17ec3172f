"""The few things that the log asks of the operating system, each one call, so that tests can let
any of them fail.
"""

from __future__ import annotations

import os
from asyncio import Future
from pathlib import Path

from attrs import frozen

from coe_records.kernel_sync import KernelSync
from coe_records.window import Window

APPENDING = os.O_RDWR | os.O_APPEND | os.O_CLOEXEC


class Disk:
    """The real one."""

    def create(self, path: Path) -> int:
        """Make a file that was not there, and open it for appending."""
        return os.open(path, APPENDING | os.O_CREAT | os.O_EXCL, 0o600)

    def open(self, path: Path) -> int:
        """Open an existing file for appending."""
        return os.open(path, APPENDING)

    def write(self, fd: int, text: bytes | memoryview) -> int:
        """Write some of the text, and tell how many bytes."""
        return os.write(fd, text)

    def sync(self, fd: int) -> None:
        """Wait until what was written is on the disk."""
        getattr(os, "fdatasync", os.fsync)(fd)

    def begin_sync(self, kernel: KernelSync, fd: int) -> Future[None] | None:
        """Begin to bring a file to the disk; None where `sync` is all there is."""
        return None

    def truncate(self, fd: int, size_bytes: int) -> None:
        """Cut the file."""
        os.ftruncate(fd, size_bytes)

    def sync_folder(self, path: Path) -> None:
        """Wait until the names in a folder are on the disk."""
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


class TimedDisk(Disk):
    """The real one, with an eye on how long its syncs take."""

    def __init__(self, syncs: Window) -> None:
        """Note the durations in the window."""
        self._syncs = syncs

    def sync(self, fd: int) -> None:
        """Wait, and measure it."""
        with self._syncs.timing():
            super().sync(fd)

    def begin_sync(self, kernel: KernelSync, fd: int) -> Future[None] | None:
        """Begin it, and measure it, unless the kernel cannot begin it."""
        try:
            done = kernel.sync(fd)
        except OSError:
            return None
        self._syncs.measure(done)
        return done


@frozen
class Sync:
    """A sync that is to be made."""

    disk: Disk
    fd: int

    def __call__(self) -> None:
        """Make it here, and wait."""
        self.disk.sync(self.fd)

    def begin(self, kernel: KernelSync) -> Future[None] | None:
        """Have the kernel make it, if the disk and the kernel can."""
        return self.disk.begin_sync(kernel, self.fd)


def write_all(disk: Disk, fd: int, text: bytes) -> None:
    """Write all of the text, however many calls it takes."""
    rest = memoryview(text)
    while rest:
        rest = rest[disk.write(fd, rest) :]


def sync(disk: Disk, path: Path) -> None:
    """Wait until a file is on the disk as it is, with its size."""
    fd = disk.open(path)
    try:
        disk.sync(fd)
    finally:
        os.close(fd)


def find_room(disk: Disk, path: Path, size_bytes: int) -> None:
    """Raise `OSError` unless a file of that size can be written. Nothing is left of it."""
    path.unlink(missing_ok=True)
    fd = disk.create(path)
    try:
        path.unlink()
        # Random, because a file system that compresses finds room for zeros when it is full.
        write_all(disk, fd, os.urandom(size_bytes))
        disk.sync(fd)
    finally:
        os.close(fd)


def replace(disk: Disk, path: Path, text: bytes) -> None:
    """Make a file hold the text, durably, whatever happens: all of it, or what it held before."""
    new = path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)
    fd = disk.create(new)
    try:
        write_all(disk, fd, text)
        disk.sync(fd)
    finally:
        os.close(fd)
    new.replace(path)
    disk.sync_folder(path.parent)
