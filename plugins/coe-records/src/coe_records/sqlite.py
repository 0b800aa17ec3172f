"""SQLite: a file in the data folder."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import sqlalchemy as sa
from attrs import frozen
from sqlalchemy.dialects import sqlite
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import QueuePool

from coe_core.sqlite import is_busy, use_wal
from coe_records import confinement, table
from coe_records.database import Clash, Connection
from coe_records.row import Row

BUSY_S = 30.0
"""How long to wait for somebody else's transaction: a backup, or a tool in an operator's hand."""

TIDY_S = 0.1
"""How long to wait for readers, and have writers wait, to begin the write-ahead log anew."""

_PREFIXES = {"refuse": "", "replace": "OR REPLACE", "ignore": "OR IGNORE"}


class SqliteConnection(sqlite3.Connection):
    """A `Connection`, with nothing between the statements and the driver."""

    waits = False

    def insert(self, into: sa.Table, rows: Iterable[Row], *, clash: Clash = "refuse") -> None:
        """Insert rows."""
        self.executemany(_insert(into, clash), rows)

    def begin(self) -> None:
        """Begin a transaction that is the only one to write."""
        self.execute("BEGIN IMMEDIATE")

    def begin_at_once(self) -> bool:
        """Begin a transaction that is the only one to write, unless there is one."""
        with self._waiting(0):
            try:
                self.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                if not is_busy(error):
                    raise
                return False
        return True

    def put_off(self) -> None:
        """Leave what is in the write-ahead log there until `tidy`."""
        self.execute("PRAGMA wal_autocheckpoint = 0")

    def tidy(self) -> None:
        """Take what is in the write-ahead log to where it belongs, and begin it anew once those who
        read it have ended; new readers do not need it then. Who reads for long has it grow.
        """
        with self._waiting(TIDY_S):
            self.execute("PRAGMA wal_checkpoint(RESTART)")

    @contextmanager
    def _waiting(self, limit_s: float) -> Iterator[None]:
        """Wait so long for others meanwhile."""
        self.execute(f"PRAGMA busy_timeout = {int(1000 * limit_s)}")
        try:
            yield
        finally:
            self.execute(f"PRAGMA busy_timeout = {int(1000 * BUSY_S)}")

    def begin_reading(self) -> None:
        """Begin a transaction that goes on seeing what its first statement saw."""
        self.execute("BEGIN")

    @contextmanager
    def strict_texts(self) -> Iterator[None]:
        """Raise meanwhile where a text is none: that is twice as fast as to show it as it is."""
        before, self.text_factory = self.text_factory, str
        try:
            yield
        finally:
            self.text_factory = before

    def hold(self, name: str) -> bool:
        """Take nothing: who shares the file shares the folder, and the locks on files in it."""
        return True

    def outlast(self, name: str) -> None:
        """Do nothing: a transaction ends with its process."""


@cache
def _insert(into: sa.Table, clash: Clash) -> str:
    statement = sa.insert(into).prefix_with(_PREFIXES[clash])
    return str(statement.compile(dialect=sqlite.dialect()))


def connect(path: Path, *, writable: bool = True, synchronous: str = "NORMAL") -> SqliteConnection:
    """Open the file; transactions begin and end only where we say so."""
    if writable:
        # Made by us, for nobody else may read it; but one that is there is never opened by us: to
        # close a descriptor of it takes away the locks that SQLite has on it in this process.
        with suppress(FileExistsError):
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    mode = "rw" if writable else "ro"
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}",
        uri=True,
        timeout=BUSY_S,
        isolation_level=None,
        check_same_thread=False,
        factory=SqliteConnection,
    )
    try:
        if writable:
            use_wal(connection)
            connection.execute(f"PRAGMA synchronous = {synchronous}")
            # SQLite opens for reading what it cannot open for writing, and says so at the first
            # change: better to fail now, and try again, than with every change to come.
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("PRAGMA user_version = 0")
            connection.execute("ROLLBACK")
    except (sqlite3.Error, UnicodeDecodeError):
        connection.close()
        raise
    return connection


def _version(connection: Connection, version_table: str) -> str | None:
    query = "SELECT 1 FROM sqlite_master WHERE name = ?"
    if connection.execute(query, [version_table]).fetchone() is None:
        return None
    row = connection.execute(f"SELECT version_num FROM {version_table}").fetchone()  # noqa: S608
    return row[0] if row else None


@frozen
class SqliteFile:
    """A `Database`."""

    path: Path
    synchronous: str = "NORMAL"
    """What SQLite syncs: with NORMAL a power cut may take the newest transactions."""
    keeps_lines = False

    @property
    def place(self) -> str:
        """The file's path."""
        return str(self.path)

    def connect(self, *, writable: bool = True, tolerant: bool = False) -> SqliteConnection:
        """Open a connection."""
        connection = self._connect(writable=writable)
        if tolerant:
            connection.text_factory = lambda stored: stored.decode(errors="backslashreplace")
        return connection

    def engine(self, *, writable: bool = False) -> sa.Engine:
        """Make an engine; its connections write only if asked for."""
        return sa.create_engine(
            "sqlite://",
            creator=lambda: self._connect(writable=writable),
            poolclass=QueuePool,
            pool_size=4,
            max_overflow=28,
        )

    def _connect(self, *, writable: bool) -> SqliteConnection:
        return connect(self.path, writable=writable, synchronous=self.synchronous)

    def begin_reading(self, connection: sa.Connection, group: str | None) -> None:
        """Begin a transaction that sees a group, or all."""
        confinement.begin(connection, group)

    def begin_writing(self, connection: sa.Connection) -> None:
        """Begin a transaction that is the only one to write."""
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    def version(self, version_table: str) -> str | None:
        """Tell which migration the tables are at."""
        with closing(self.connect()) as connection:
            return _version(connection, version_table)

    @contextmanager
    def upgrading(self) -> Iterator[sa.Connection]:
        """Open a transaction to change tables in: a process that is killed halfway leaves
        nothing. Neither the driver nor Alembic begin one for that by themselves.
        """
        engine = self.engine(writable=True)
        try:
            with engine.connect() as connection:
                self.begin_writing(connection)
                yield connection
                connection.commit()
        except DBAPIError as error:
            raise error.orig or error from error
        finally:
            engine.dispose()

    def damage(self, connection: Connection) -> Iterator[tuple[str, str]]:
        """Look at names of columns; let SQLite look at its pages, and indexes against tables."""
        for name in self._damaged_tables(connection):
            yield f"database:{name}", "the table does not have its columns"
        for (text,) in connection.execute("PRAGMA integrity_check(20)"):
            if text != "ok":
                yield "database", text

    def set_aside_unless_sound(self) -> str | None:
        """Move a file whose pages or tables are damaged out of the way, with what belongs to it."""
        try:
            with closing(self.connect(tolerant=True)) as connection:
                (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
                if found != "ok" or self._damaged_tables(connection):
                    raise sqlite3.DatabaseError(found)
        except sqlite3.OperationalError:
            raise
        except (sqlite3.DatabaseError, UnicodeDecodeError):  # See `raised`.
            stamp = f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}"
            for file in self._files("", "-wal", "-shm"):
                file.rename(f"{file}.{stamp}.damaged")
            return f"{self.path}.{stamp}.damaged"
        return None

    def keep_copy(self, stamp: str) -> None:
        """Copy the pages, damaged ones as they are, then have the indexes made anew. SQLite copies
        them itself: a descriptor of ours takes its locks away with it (see `connect`).
        """
        with (
            closing(connect(self.path.with_name(f"{self.path.name}.{stamp}.damaged"))) as copy,
            closing(self.connect()) as connection,
        ):
            connection.backup(copy)
            connection.execute("REINDEX")

    def _damaged_tables(self, connection: Connection) -> list[str]:
        """List the tables that do not have the columns which the newest migration gave them."""
        if _version(connection, table.VERSION_TABLE) != table.HEAD:
            return []
        return [
            name
            for name, made in table.metadata.tables.items()
            if _columns(connection, name) != _made(made)
        ]

    def _files(self, *suffixes: str) -> list[Path]:
        files = (self.path.with_name(self.path.name + suffix) for suffix in suffixes)
        return [file for file in files if file.exists()]


def _columns(connection: Connection, name: str) -> list[tuple[str, str, bool]]:
    """Tell name and type of each column of a table, and whether it must have a value."""
    found = connection.execute(f"PRAGMA table_info({name})")
    return [(name, type_, bool(not_null)) for _, name, type_, not_null, *_ in found]


@cache
def _made(given: sa.Table) -> list[tuple[str, str, bool]]:
    """Tell what `_columns` says of a table that is whole."""
    dialect = sqlite.dialect()
    return [(c.name, c.type.compile(dialect=dialect), not c.nullable) for c in given.c]
