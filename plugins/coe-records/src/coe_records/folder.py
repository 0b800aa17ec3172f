"""Where everything lies in the data folder."""

from __future__ import annotations

import os
import secrets
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import field, frozen

from coe_records.database import Database, database_of
from coe_records.disk import Disk
from coe_records.lock import try_lock_path
from coe_records.log import Log

if TYPE_CHECKING:
    from coe_records.projection import Projection


@frozen
class DataFolder:
    """The data folder of a machine, which any number of processes share."""

    path: Path
    server: str | None = field(default=None, repr=False)
    """The address of the Postgres that has the tables, if no file in the folder has them."""

    @property
    def database(self) -> Path:
        """The SQLite file."""
        return self.path / "coe.db"

    @property
    def tables(self) -> Database:
        """The database."""
        return database_of(self.database, self.server)

    def projection(self, *, writable: bool = True) -> Projection:
        """Open a connection to the tables; whoever asks closes it."""
        from coe_records.projection import Projection

        tables = self.tables
        connection = tables.connect(writable=writable, tolerant=not writable)
        return Projection(connection, Log(self.events), tables.keeps_lines)

    @property
    def events(self) -> Path:
        """The log."""
        return self.path / "events"

    @property
    def log_bytes(self) -> int:
        """How large the log is."""
        log = Log(self.events)
        return sum(map(log.size, log.segments()))

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

    @property
    def known_writers(self) -> list[str]:
        """List the writers of this folder, in the order of their age."""
        names = [path.name for path in self.writers.iterdir()]
        return sorted(names, key=lambda name: (len(name), name))

    def try_claim(self, writer: str) -> int | None:
        """Become a writer, unless another process is; until the file returned is closed."""
        folder = self.writers / writer
        folder.mkdir(exist_ok=True)
        return try_lock_path(folder / "lock")

    def claim(self) -> tuple[str, int]:
        """Become the first writer that no other process is, so that its chain goes on."""
        for writer in chain(self.known_writers, map(self._new_writer, count(1))):
            if (lock := self.try_claim(writer)) is not None:
                return writer, lock
        raise AssertionError  # count() has no end

    def _new_writer(self, number: int) -> str:
        """Call writers by numbers, but where machines that do not know of each other share the
        database.
        """
        return f"w{number}" if self.server is None else f"w{secrets.token_hex(4)}"

    def dead_writers(self) -> dict[str, int]:
        """Become every writer that no process is, and return them with their locks."""
        claims = {writer: self.try_claim(writer) for writer in self.known_writers}
        return {writer: lock for writer, lock in claims.items() if lock is not None}


def release(lock: int) -> None:
    """Cease to be a writer."""
    os.close(lock)
