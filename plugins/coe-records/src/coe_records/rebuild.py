"""Making the tables again from the log alone."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from attrs import frozen

from coe_core.error import Conflict
from coe_records import database, manifest
from coe_records.disk import Disk
from coe_records.folder import DataFolder
from coe_records.lock import locked
from coe_records.log import Log
from coe_records.projection import CHUNK_LINES, Projection
from coe_records.recovery import stop_seqs


@frozen(kw_only=True)
class Rebuilt:
    """What a rebuild came to."""

    segments: int
    records: int
    passed_over: int
    """Lines that are damaged or torn off."""
    set_aside: str | None = None
    """Where the old database is, if it was none."""


def rebuild(folder: DataFolder, *, may_forget: bool = False) -> Rebuilt:
    """Empty the tables and fill them again, in one transaction; writers wait meanwhile.

    Raises `Conflict`, and changes nothing, when the database has turns that the log has lost,
    unless it may forget them.
    """
    folder.make(Disk())
    with locked(folder.lock):
        set_aside = _set_aside_unless_database(folder)
        database.migrate(folder.database)
        with _projection(folder) as projection, projection.transaction():
            result = _refill(projection)
            if not may_forget:
                _refuse_loss(folder, projection)
    return Rebuilt(
        segments=result.segments,
        records=result.records,
        passed_over=result.passed_over,
        set_aside=set_aside,
    )


@contextmanager
def _projection(folder: DataFolder) -> Iterator[Projection]:
    connection = database.connect(folder.database)
    try:
        yield Projection(connection, Log(folder.events))
    finally:
        connection.close()


def _refill(projection: Projection) -> Rebuilt:
    projection.clear()
    log = projection.log
    paths, stops = log.segments(), stop_seqs(log, {})
    sealed = manifest.sealed(log.events)
    replays = [
        projection.replay(path, stop_seq=stops.get(path), is_sealed=path in sealed)
        for path in paths
    ]
    return Rebuilt(
        segments=len(paths),
        records=sum(replay.lines for replay in replays),
        passed_over=sum(len(r.damaged) + (r.torn is not None) for r in replays),
    )


def _refuse_loss(folder: DataFolder, projection: Projection) -> None:
    before = database.connect(folder.database, writable=False)
    try:
        turns = before.execute("SELECT id FROM interactions")
        lost = 0
        while chunk := [turn_id for (turn_id,) in turns.fetchmany(CHUNK_LINES)]:
            lost += len(chunk) - len(projection.known(chunk))
    finally:
        before.close()
    if lost:
        raise Conflict(
            f"the database has {lost} turns that the log has lost, so it was left as it is; "
            "`coe records verify` lists them"
        )


def _set_aside_unless_database(folder: DataFolder) -> str | None:
    """Move a file that SQLite cannot read out of the way, with what belongs to it."""
    path = folder.database
    try:
        connection = database.connect(path)
        try:
            connection.execute("PRAGMA quick_check(1)").fetchone()
            if damaged := database.damaged_tables(connection):
                raise sqlite3.DatabaseError(", ".join(damaged))
        finally:
            connection.close()
    except sqlite3.OperationalError:
        raise
    except sqlite3.DatabaseError:
        stamp = f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}"
        for suffix in ("", "-wal", "-shm"):
            file = path.with_name(path.name + suffix)
            if file.exists():
                file.rename(f"{file}.{stamp}.damaged")
        return f"{path}.{stamp}.damaged"
    return None
