"""Whose writers are whose, where several machines share a database."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Sequence

from coe_core.error import StartRefused
from coe_records import table
from coe_records.database import Connection
from coe_records.disk import Disk, replace
from coe_records.folder import DataFolder, release
from coe_records.log import Log

# Which segments are in other logs; the value is the id of ours.
ELSEWHERE = "SELECT path FROM segments WHERE writer IN (SELECT name FROM writers WHERE log <> ?)"


def register(folder: DataFolder, connection: Connection, writers: Sequence[str]) -> None:
    """Enter writers as this folder's, unless the database is a file in it, which no other log
    shares. The caller holds the log's lock.

    Raises `StartRefused` if the database knows one of them as another's: two logs may have writers
    of one name, made while each had a database to itself, and cannot be told apart then.
    """
    if folder.server is None:
        return
    ours = _identity(folder)
    known = dict(connection.execute("SELECT name, log FROM writers").fetchall())
    if strangers := [writer for writer in writers if known.get(writer, ours) != ours]:
        raise StartRefused(
            f"the database {folder.tables.place} has records of another log whose writers have the "
            f"names of ours ({', '.join(strangers)}); give this data folder a database, or a "
            "schema, of its own"
        )
    rows = [(writer, ours, socket.gethostname()) for writer in writers if writer not in known]
    connection.insert(table.writers, rows, clash="ignore")


def outlast_dead(folder: DataFolder, connection: Connection) -> None:
    """Wait until a server has done with what processes that were killed had it commit: whoever
    looks sooner does not see those rows, and writes them too. The caller holds the log's lock.
    """
    if folder.server is None:
        return
    claims = folder.dead_writers()
    try:
        for writer in claims:
            connection.outlast(writer)
    finally:
        for claim in claims.values():
            release(claim)


def elsewhere(connection: Connection, log: Log) -> dict[str, str]:
    """Return the segments that are in the logs of other machines, and on which."""
    rows = connection.execute(
        "SELECT path, host FROM segments JOIN writers ON name = writer WHERE log <> ?",
        [log.id or ""],
    )
    return dict(rows.fetchall()) if log.id else {}


def _identity(folder: DataFolder) -> str:
    log = Log(folder.events)
    if log.id is None:
        replace(Disk(), log.id_file, f"{secrets.token_hex(16)}\n".encode())
    return str(log.id)
