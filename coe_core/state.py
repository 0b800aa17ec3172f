"""The state store on SQLite: the one that the engine provides when no plugin does."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from typing import TypeVar

from attrs import define, field

from coe_core.codec import decode, encode
from coe_core.error import Conflict, StartRefused, Unavailable
from coe_core.message import Json
from coe_core.service import Versioned
from coe_core.sqlite import use_wal

T = TypeVar("T")

STATE_FILE = "state.sqlite"
"""Where in a data folder the engine's own store is."""

# The version is SQLite's own growing row number: AUTOINCREMENT never gives one out twice, so that
# a version read before a key was removed does not fit the key that is written again later.
SCHEMA = """
CREATE TABLE IF NOT EXISTS state (
    version INTEGER PRIMARY KEY AUTOINCREMENT,
    key TEXT NOT NULL UNIQUE,
    value TEXT NOT NULL
)
"""

ABSENT = Versioned()

LAST_CHARACTER = "\U0010ffff"


@define
class SqliteStateStore:
    """A `StateStore` in one SQLite file, which any number of processes may have open.

    One thread owns the connection, so that the event loop never waits for the disk. Usable between
    `open` and `close`.
    """

    path: Path
    poll_s: float = 0.2
    """How often `watch` looks for changes by other processes; a look takes about 10 us."""
    _thread: ThreadPoolExecutor | None = field(default=None, init=False, repr=False)
    _connection: sqlite3.Connection | None = field(default=None, init=False, repr=False)
    _watchers: set[asyncio.Event] = field(factory=set, init=False, repr=False)

    async def open(self) -> None:
        """Open or make the file and its folder. Raises `StartRefused` when they are no use."""
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="coe-state")
        loop = asyncio.get_running_loop()
        try:
            self._connection = await loop.run_in_executor(self._thread, _connect, self.path)
        except (OSError, sqlite3.Error) as error:
            self._thread.shutdown()
            raise StartRefused(
                f"the state file {self.path} cannot be used: {error}; "
                "make its folder writable, or choose another with --data or [coe] data_dir"
            ) from error

    async def close(self) -> None:
        """Close the file; watchers end."""
        connection, self._connection = self._connection, None
        self._wake()
        if connection is None or self._thread is None:
            return
        await asyncio.get_running_loop().run_in_executor(self._thread, connection.close)
        self._thread.shutdown()

    def peek(self, prefix: str) -> dict[str, Json]:
        """Read values without opening, or making, the file; {} when there is none."""
        if not self.path.exists():
            return {}
        try:
            with closing(
                sqlite3.connect(f"{self.path.absolute().as_uri()}?mode=ro", uri=True)
            ) as c:
                # Whoever made the file may have been killed before it made the table.
                if c.execute("SELECT 1 FROM sqlite_master WHERE name = 'state'").fetchone() is None:
                    return {}
                return {key: versioned.value for key, versioned in _list(c, prefix).items()}
        except sqlite3.Error as error:
            raise self._failed(error) from error

    async def get(self, key: str) -> Versioned:
        """Read one value."""
        return await self._run(lambda connection: _get(connection, key))

    async def list(self, prefix: str) -> Mapping[str, Versioned]:
        """Read all values whose key begins with `prefix`, by key."""
        return await self._run(lambda connection: _list(connection, prefix))

    async def put(self, key: str, value: Json, *, expect: int | None = None) -> Versioned:
        """Write a value, or remove the key. Raises `Conflict` unless `expect` is the version."""
        written = await self._run(lambda connection: _put(connection, key, value, expect))
        self._wake()
        return written

    def _wake(self) -> None:
        """Let who watches look at once: what this process wrote it need not wait for."""
        for watcher in self._watchers:
            watcher.set()

    async def watch(self, prefix: str) -> AsyncIterator[Mapping[str, Versioned]]:
        """Yield the values now, and after each change; ends when the store is closed."""
        mark, values = None, None
        written = asyncio.Event()
        self._watchers.add(written)
        try:
            while self._connection is not None:
                written.clear()
                # The mark is taken before the values: a write between the two is seen next time.
                before, mark = mark, await self._run(_mark)
                if mark != before:
                    known, values = values, await self.list(prefix)
                    if values != known:
                        yield values
                with suppress(TimeoutError):
                    async with asyncio.timeout(self.poll_s):
                        await written.wait()
        finally:
            self._watchers.discard(written)

    async def _run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        connection = self._connection
        if connection is None or self._thread is None:
            raise Unavailable("the state store is not open")
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._thread, work, connection)
        except sqlite3.Error as error:
            raise self._failed(error) from error

    def _failed(self, error: sqlite3.Error) -> Unavailable:
        # Without its folder: clients are told too, when it fails under a request of theirs.
        return Unavailable(f"the state file {self.path.name} failed: {error}")


def _connect(path: Path) -> sqlite3.Connection:
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(path, timeout=10, isolation_level=None)
    try:
        use_wal(connection)
        connection.execute("PRAGMA synchronous = FULL")
        with connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute(SCHEMA)
    except BaseException:
        connection.close()
        raise
    return connection


def _get(connection: sqlite3.Connection, key: str) -> Versioned:
    query = "SELECT version, value FROM state WHERE key = ?"
    row = connection.execute(query, [key]).fetchone()
    return Versioned(version=row[0], value=decode(row[1])) if row else ABSENT


def _list(connection: sqlite3.Connection, prefix: str) -> Mapping[str, Versioned]:
    query = "SELECT key, version, value FROM state WHERE key BETWEEN ? AND ? ORDER BY key"
    rows = connection.execute(query, [prefix, prefix + LAST_CHARACTER])
    return {key: Versioned(version=version, value=decode(text)) for key, version, text in rows}


def _put(connection: sqlite3.Connection, key: str, value: Json, expect: int | None) -> Versioned:
    text = encode(value).decode()
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        present = _get(connection, key).version
        if expect not in (None, present):
            raise Conflict(f"{key} was changed by somebody else meanwhile")
        connection.execute("DELETE FROM state WHERE key = ?", [key])
        if value is None:
            return ABSENT
        row = connection.execute("INSERT INTO state (key, value) VALUES (?, ?)", [key, text])
        return Versioned(version=row.lastrowid or 0, value=value)


def _mark(connection: sqlite3.Connection) -> tuple[int, int]:
    """Return what changes with every commit: of another connection, of this one."""
    row = connection.execute("PRAGMA data_version").fetchone()
    return row[0], connection.total_changes
