"""What SQLite does not do by itself."""

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from threading import Barrier

import pytest

from coe_core.sqlite import use_wal


def test_wal_is_turned_on_by_many_at_once(tmp_path: Path) -> None:
    at_once = 8
    barrier = Barrier(at_once)

    def mode(path: Path) -> str:
        barrier.wait()
        with closing(sqlite3.connect(path, timeout=30, isolation_level=None)) as connection:
            use_wal(connection)
            return str(connection.execute("PRAGMA journal_mode").fetchone()[0])

    with ThreadPoolExecutor(at_once) as threads:
        for n in range(50):
            path = tmp_path / f"{n}.db"
            assert list(threads.map(mode, [path] * at_once)) == ["wal"] * at_once


def test_waits_no_longer_than_the_connection_does(tmp_path: Path) -> None:
    path = tmp_path / "coe.db"
    with (
        closing(sqlite3.connect(path, isolation_level=None)) as holder,
        closing(sqlite3.connect(path, timeout=0.05, isolation_level=None)) as waiter,
    ):
        holder.execute("BEGIN EXCLUSIVE")
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            use_wal(waiter)


def test_says_what_is_no_database(tmp_path: Path) -> None:
    path = tmp_path / "coe.db"
    path.write_bytes(b"not a database, but long enough for one" * 100)
    with (
        closing(sqlite3.connect(path)) as connection,
        pytest.raises(sqlite3.DatabaseError, match="not a database"),
    ):
        use_wal(connection)
