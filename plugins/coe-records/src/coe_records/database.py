"""What the records ask of a database, SQLite or Postgres.

Statements are written once, with SQLite's placeholders, in the SQL that both understand; what they
spell differently is in `sqlite.py` and `postgres.py`, and nowhere else.
"""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

if TYPE_CHECKING:
    import sqlalchemy as sa

    from coe_records.row import Row

Clash: TypeAlias = Literal["refuse", "replace", "ignore"]
"""What becomes of a row whose key the table has already."""


class Cursor(Protocol):
    """What a statement found."""

    @property
    def description(self) -> Any:
        """A sequence for each column, its name first."""
        ...

    @property
    def rowcount(self) -> int:
        """How many rows a statement changed."""
        ...

    def fetchone(self) -> Any:
        """Return the next row, or None."""
        ...

    def fetchmany(self, size: int) -> list[Any]:
        """Return the next rows, none at the end."""
        ...

    def fetchall(self) -> list[Any]:
        """Return the rows that are left."""
        ...

    def __iter__(self) -> Iterator[Any]:
        """Iterate over the rows that are left."""
        ...


class Connection(Protocol):
    """A connection, whose transactions begin and end only where we say so."""

    # Classes of what it raises, as PEP 249 has them.
    @property
    def Error(self) -> type[Exception]: ...  # noqa: N802
    @property
    def IntegrityError(self) -> type[Exception]: ...  # noqa: N802
    @property
    def DatabaseError(self) -> type[Exception]: ...  # noqa: N802
    @property
    def OperationalError(self) -> type[Exception]: ...  # noqa: N802
    @property
    def DataError(self) -> type[Exception]: ...  # noqa: N802

    @property
    def in_transaction(self) -> bool:
        """Whether there is something to commit or to roll back."""
        ...

    def execute(self, statement: str, values: Sequence[Any] = (), /) -> Cursor:
        """Execute one statement."""
        ...

    def insert(self, into: sa.Table, rows: Iterable[Row], *, clash: Clash = "refuse") -> None:
        """Insert rows, their values in the order of the table's columns."""
        ...

    @property
    def waits(self) -> bool:
        """Whether its statements wait for more than this machine's own memory and disk."""
        ...

    def begin(self) -> None:
        """Begin a transaction to write in, on a new connection if the old one has broken."""
        ...

    def begin_at_once(self) -> bool:
        """Begin a transaction to write in, unless that takes waiting for somebody else's."""
        ...

    def put_off(self) -> None:
        """Leave to `tidy` what commits do on the side, and what makes them wait for the disk."""
        ...

    def tidy(self) -> None:
        """Do what commits have put off."""
        ...

    def begin_reading(self) -> None:
        """Begin a transaction that goes on seeing what its first statement saw."""
        ...

    def strict_texts(self) -> AbstractContextManager[None]:
        """Raise meanwhile where a text in the database is none."""
        ...

    def hold(self, name: str) -> bool:
        """Take a lock between machines for as long as this connection, and those that replace it,
        are open; False if somebody else has it.
        """
        ...

    def outlast(self, name: str) -> None:
        """Wait, if not for ever, for what a process that held the lock, and was killed, may still
        be committing.
        """
        ...

    def close(self) -> None:
        """Close it."""
        ...


class Database(Protocol):
    """Where the tables are."""

    @property
    def place(self) -> str:
        """How to call it before people; no secret is in it."""
        ...

    @property
    def keeps_lines(self) -> bool:
        """Whether it is to keep the lines of the log too: a machine may be lost with its folder,
        while its database is not. What is acknowledged is then in both, else in the log at least.
        """
        ...

    def connect(self, *, writable: bool = True, tolerant: bool = False) -> Connection:
        """Open a connection; a tolerant one reads texts even where they are none."""
        ...

    def engine(self, *, writable: bool = False) -> sa.Engine:
        """Make SQLAlchemy's way to it."""
        ...

    def begin_reading(self, connection: sa.Connection, group: str | None) -> None:
        """Begin a transaction of the engine that goes on seeing what its first statement saw, of
        one group and of `EVERY_GROUP` alone, or with None all.
        """
        ...

    def begin_writing(self, connection: sa.Connection) -> None:
        """Begin a transaction of a writable engine that changes rows of any group."""
        ...

    def version(self, version_table: str) -> str | None:
        """Tell which migration the tables are at, None if there are none."""
        ...

    def upgrading(self) -> AbstractContextManager[sa.Connection]:
        """Open a transaction in which tables may be made and changed, the only one of its kind."""
        ...

    def damage(self, connection: Connection) -> Iterator[tuple[str, str]]:
        """Look for damage that no row shows, as far as that can be seen from here; yield where it
        is, and what.
        """
        ...

    def set_aside_unless_sound(self) -> str | None:
        """Move away what is no database at all, and tell where to."""
        ...

    def keep_copy(self, stamp: str) -> None:
        """Keep the tables as they are, under another name, before they are made again."""
        ...


def raised() -> tuple[type[Exception], ...]:
    """Return what a database and its file, or its server, may raise; for an `except`.

    Postgres's errors are among it only if its driver was loaded: nobody else raises them.
    `UnicodeDecodeError` is what sqlite3 raises where its message would quote damaged bytes.
    """
    psycopg = sys.modules.get("psycopg")
    return (OSError, sqlite3.Error, UnicodeDecodeError, *([psycopg.Error] if psycopg else []))


def reason(error: BaseException | None) -> str:
    """Name what went wrong, and no path, host or user: clients read it. Psycopg names those."""
    if isinstance(error, OSError):
        return error.strerror or str(error)
    psycopg = sys.modules.get("psycopg")
    if psycopg and isinstance(error, psycopg.Error):
        return "see to the Postgres server"
    return str(error)


def database_of(file: Path, server: str | None, *, is_owned: bool = False) -> Database:
    """Return a database: the server, or else the file. What is owned is made of nothing else."""
    if server is not None:
        from coe_records.postgres import PostgresServer

        return PostgresServer(server)
    from coe_records.sqlite import SqliteFile

    return SqliteFile(file, synchronous="FULL" if is_owned else "NORMAL")
