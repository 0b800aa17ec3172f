"""Where everything lies in the data folder."""

from __future__ import annotations

import os
from itertools import count
from pathlib import Path

from attrs import frozen

from coe_records.disk import Disk
from coe_records.lock import try_lock_path


@frozen
class DataFolder:
    """The data folder of a deployment, which any number of processes share."""

    path: Path

    @property
    def database(self) -> Path:
        """The SQLite file."""
        return self.path / "coe.db"

    @property
    def events(self) -> Path:
        """The log."""
        return self.path / "events"

    @property
    def lock(self) -> Path:
        """Held by whoever writes to log and database, for as long as one group takes."""
        return self.events / "lock"

    @property
    def copying(self) -> Path:
        """Held by a backup while it copies, and by whoever removes a file of the log."""
        return self.events / "copying"

    @property
    def writers(self) -> Path:
        """A folder for each writer that there ever was."""
        return self.events / "writers"

    def intents(self, writer: str) -> Path:
        """Return the file of a writer's intents."""
        return self.writers / writer / "intents.jsonl"

    def make(self, disk: Disk) -> None:
        """Make the folders, durably, even if it was somebody else who just made them."""
        self.writers.mkdir(parents=True, exist_ok=True)
        disk.sync_folder(self.path)

    def try_claim(self, writer: str) -> int | None:
        """Become a writer, unless another process is; until the file returned is closed."""
        folder = self.writers / writer
        folder.mkdir(exist_ok=True)
        return try_lock_path(folder / "lock")

    def claim(self) -> tuple[str, int]:
        """Become the first writer that no other process is, so that its chain goes on."""
        for number in count(1):
            if (lock := self.try_claim(f"w{number}")) is not None:
                return f"w{number}", lock
        raise AssertionError  # count() has no end

    def dead_writers(self) -> dict[str, int]:
        """Become every writer that no process is, and return them with their locks."""
        claims = {p.name: self.try_claim(p.name) for p in sorted(self.writers.iterdir())}
        return {writer: lock for writer, lock in claims.items() if lock is not None}


def release(lock: int) -> None:
    """Cease to be a writer."""
    os.close(lock)
