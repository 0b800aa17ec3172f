"""The SQL database: connections, and migrations under a version table of our own."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from sqlalchemy import Engine, create_engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import QueuePool

from coe_records import table

BUSY_S = 30.0
"""How long to wait for somebody else's transaction: a backup, or a tool in an operator's hand."""


def connect(path: Path, *, writable: bool = True) -> sqlite3.Connection:
    """Open the file; transactions begin and end only where we say so."""
    if writable:  # Made by us, not by SQLite: nobody else may read what is in it.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    mode = "rw" if writable else "ro"
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}",
        uri=True,
        timeout=BUSY_S,
        isolation_level=None,
        check_same_thread=False,
    )
    try:
        if writable:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            # SQLite opens for reading what it cannot open for writing, and says so at the first
            # change: better to fail now, and try again, than with every change to come.
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("PRAGMA user_version = 0")
            connection.execute("ROLLBACK")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def reading_engine(path: Path) -> Engine:
    """Make an engine whose connections cannot write."""
    return create_engine(
        "sqlite://",
        creator=lambda: connect(path, writable=False),
        poolclass=QueuePool,
        pool_size=4,
        max_overflow=28,
    )


def version(connection: sqlite3.Connection) -> str | None:
    """Tell which migration the database is at, None for an empty one."""
    found = connection.execute(
        "SELECT 1 FROM sqlite_master WHERE name = ?", [table.VERSION_TABLE]
    ).fetchone()
    if found is None:
        return None
    row = connection.execute(f"SELECT version_num FROM {table.VERSION_TABLE}").fetchone()  # noqa: S608
    return row[0] if row else None


def damaged_tables(connection: sqlite3.Connection) -> list[str]:
    """List the tables that do not have the columns which the newest migration gave them."""
    if version(connection) != table.HEAD:
        return []
    return [
        name
        for name, made in table.metadata.tables.items()
        if [row[1] for row in connection.execute(f"PRAGMA table_info({name})")] != made.c.keys()
    ]


def migrate(path: Path) -> None:
    """Bring the database up to date, in one transaction. The caller holds the log's lock."""
    connection = connect(path)
    try:
        due = version(connection) != table.HEAD
    finally:
        connection.close()
    if due:
        _upgrade(path)


def _upgrade(path: Path) -> None:
    # Loaded here, for it takes a fifth of a second that most starts have no use for.
    from alembic import command
    from alembic.config import Config

    engine = create_engine("sqlite://", creator=lambda: connect(path))
    config = Config()
    config.set_main_option("script_location", "coe_records:migrations")
    config.set_main_option("path_separator", "os")
    try:
        with engine.connect() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    except DBAPIError as error:
        raise error.orig or error from error
    finally:
        engine.dispose()
