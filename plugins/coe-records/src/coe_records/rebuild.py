"""Making the tables again from the log alone."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import closing

from attrs import frozen

from coe_core.error import Conflict
from coe_records import manifest
from coe_records.disk import Disk
from coe_records.folder import DataFolder
from coe_records.lock import locked
from coe_records.log import Tell, untold
from coe_records.migration import migrate
from coe_records.projection import CHUNK_LINES, Projection, json_list
from coe_records.recovery import stop_seqs
from coe_records.registry import ELSEWHERE, outlast_dead, register, registered

_FORGOTTEN = f"""
    SELECT count(*) FROM lines LEFT JOIN segments ON path = segment
    WHERE segment NOT IN ({ELSEWHERE}) AND (path IS NULL OR offset_bytes >= end_bytes)
"""  # noqa: S608
"""Who does not know of these lines goes on writing in their place."""


@frozen(kw_only=True)
class Rebuilt:
    """What a rebuild came to."""

    segments: int
    records: int
    passed_over: int
    """Lines that are damaged or torn off."""
    set_aside: str | None = None
    """Where the old database is, if it was none."""


def rebuild(folder: DataFolder, tell: Tell = untold, *, may_forget: bool = False) -> Rebuilt:
    """Empty the tables and fill them again, in one transaction; writers wait meanwhile. `tell`
    hears of the bytes of each segment that was read.

    Raises `Conflict`, and changes nothing, when the database has turns that the log has lost,
    unless it may forget them.
    """
    folder.make(Disk())
    with locked(folder.lock):
        set_aside = folder.tables.set_aside_unless_sound()
        migrate(folder.tables)
        projection = folder.projection()
        with closing(projection.connection), projection.transaction():
            outlast_dead(folder, projection.connection)
            register(folder, projection.connection, folder.known_writers)
            elsewhere = registered(folder, projection.connection).elsewhere
            result = _refill(projection, elsewhere, tell)
            if not may_forget:
                _refuse_loss(folder, projection, elsewhere)
    return Rebuilt(
        segments=result.segments,
        records=result.records,
        passed_over=result.passed_over,
        set_aside=set_aside,
    )


def _refill(projection: Projection, elsewhere: Collection[str], tell: Tell) -> Rebuilt:
    projection.clear(elsewhere)
    log = projection.log
    paths, stops = log.segments(), stop_seqs(log, {})
    sealed = manifest.sealed(log.events)
    replays = []
    for path in paths:
        replay = projection.replay(path, stop_seq=stops.get(path), is_sealed=path in sealed)
        replays.append(replay)
        tell(log.size(path))
    return Rebuilt(
        segments=len(paths),
        records=sum(replay.lines for replay in replays),
        passed_over=sum(len(r.damaged) + (r.torn is not None) for r in replays),
    )


def _refuse_loss(folder: DataFolder, projection: Projection, elsewhere: Collection[str]) -> None:
    with closing(folder.tables.connect(writable=False)) as before:
        ours = f"SELECT id FROM interactions WHERE segment NOT IN ({ELSEWHERE})"  # noqa: S608
        turns, lost = before.execute(ours, [json_list(elsewhere)]), 0
        while chunk := [turn_id for (turn_id,) in turns.fetchmany(CHUNK_LINES)]:
            lost += len(chunk) - len(projection.known(chunk))
    values = [json_list(elsewhere)]
    ((forgotten,),) = projection.connection.execute(_FORGOTTEN, values).fetchall()
    if lost or forgotten:
        what = f"{lost} turns" if lost else f"{forgotten} lines"
        raise Conflict(
            f"the database has {what} that the log has lost, so it was left as it is; "
            "`coe records verify` lists them"
        )
