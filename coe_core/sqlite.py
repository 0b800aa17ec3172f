"""What every SQLite file of ours needs, and SQLite does not do by itself."""

from __future__ import annotations

import sqlite3


def is_busy(error: sqlite3.Error) -> bool:
    """Tell whether somebody else's transaction is what a statement failed for."""
    # The driver's own errors have no name.
    return getattr(error, "sqlite_errorname", "").startswith("SQLITE_BUSY")


def use_wal(connection: sqlite3.Connection) -> None:
    """Turn WAL on; the connection is in no transaction. Raises `sqlite3.Error`.

    Where several connections do so at once in a new file SQLite refuses all but one, without the
    wait that it has for every other statement; so wait by one of those until the file is free.
    """
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if not is_busy(error):
                raise
            connection.execute("BEGIN EXCLUSIVE")
            connection.execute("ROLLBACK")
        else:
            return
