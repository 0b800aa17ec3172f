"""A segment: the file of the log that one process appends to, and nobody else while it lives."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from pathlib import Path

from attrs import define, field

from coe_records.disk import Disk, Sync, write_all
from coe_records.lock import try_lock
from coe_records.step import Steps


@define
class Segment:
    """An open segment. The lock on the file tells other processes that its writer lives."""

    path: str
    """Below the events folder."""
    end: int
    """Where the next line begins. What lies behind it, if anything, was never acknowledged."""
    _fd: int
    _disk: Disk
    sound: bool = field(default=True, init=False)
    """Whether it may take another line."""

    @classmethod
    def create(
        cls, disk: Disk, events: Path, day: str, writer: str, is_taken: Callable[[str], bool]
    ) -> Segment:
        """Make the day's first segment, or else the writer's next one of that day. A name that is
        taken stands for another segment, even one that is not there any more.
        """
        folder = events / day
        folder.mkdir(exist_ok=True)
        disk.sync_folder(events)  # Also for a folder whose maker failed to do so.
        for number in count():
            name = f"interactions.{writer}.{number}.jsonl" if number else "interactions.jsonl"
            path = f"{day}/{name}"
            with suppress(FileExistsError):
                if not is_taken(path):
                    segment = cls(path, 0, disk.create(events / path), disk)
                    break
        try_lock(segment._fd)
        try:
            disk.sync_folder(folder)
        except OSError:
            if not segment.remove(events):
                segment.close()
            raise
        return segment

    @classmethod
    def reopen(cls, disk: Disk, events: Path, path: str) -> Segment | None:
        """Open a segment to go on with it; None if its writer lives."""
        fd = disk.open(events / path)
        if try_lock(fd):
            return cls(path, os.fstat(fd).st_size, fd, disk)
        os.close(fd)
        return None

    def append(self, text: bytes) -> Steps[None]:
        """Write, and wait for the disk. After an `OSError` nothing counts as written."""
        try:
            write_all(self._disk, self._fd, text)
        except OSError:
            self.sound = self._take_back()
            raise
        try:
            yield Sync(self._disk, self._fd)
        except OSError:
            # The kernel may have dropped the pages and call them clean now, so this file is not
            # trusted with another line. https://lwn.net/Articles/752063
            self._take_back()
            self.sound = False
            raise
        self.end += len(text)

    def cut(self, end: int) -> None:
        """Make the file end there, and what is before it durable."""
        self._disk.truncate(self._fd, end)
        self._disk.sync(self._fd)
        self.end = end

    def sync(self) -> None:
        """Wait until all that was written, by whomever, is on the disk."""
        self._disk.sync(self._fd)

    def close(self) -> None:
        """Close the file and release it."""
        os.close(self._fd)

    def remove(self, events: Path) -> bool:
        """Close a segment without a line, and leave no file; unless the file will not go."""
        try:
            (events / self.path).unlink(missing_ok=True)
        except OSError:
            return False
        self.close()
        return True

    def _take_back(self) -> bool:
        try:
            self._disk.truncate(self._fd, self.end)
        except OSError:
            return False
        return True
