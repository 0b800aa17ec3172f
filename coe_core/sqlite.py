"""What every SQLite file of ours needs, and SQLite does not do by itself."""

from __future__ import annotations

import sqlite3


def use_wal(connection: sqlite3.Connection) -> None:
    """Turn WAL on; the connection is in no transaction. Raises `sqlite3.Error`.

    Where several connections do so at once in a new file SQLite refuses all but one, without the
    wait that it has for every other statement; so wait by one of those until the file is free.
    """
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if not error.sqlite_errorname.startswith("SQLITE_BUSY"):
                raise
            connection.execute("BEGIN EXCLUSIVE")
            connection.execute("ROLLBACK")
        else:
            return
