"""Mends log and database from each other."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime
from hashlib import sha256
from itertools import groupby
from pathlib import Path
from typing import Any

from attrs import evolve, frozen

from coe_core.record import Pointer
from coe_core.service import Clock
from coe_records import compacted, copies, kept, manifest
from coe_records.audit import Fault, audit
from coe_records.bit import changed_bit
from coe_records.comparison import KEYS
from coe_records.database import Connection
from coe_records.disk import Disk, replace
from coe_records.envelope import body_extent
from coe_records.folder import DataFolder
from coe_records.header import changed_bits
from coe_records.lock import locked
from coe_records.log import Log, Show, unshown
from coe_records.projection import Mark, Projection, json_list
from coe_records.rebuild import rebuild
from coe_records.registry import ELSEWHERE, registered, set_right
from coe_records.restoration import bodies_at
from coe_records.writer import Draft, Repair, Writer

GROUP_RECORDS = 500
ROUNDS = 4
"""What one round mends may show what the next can."""
_POINTERS = " UNION ".join(
    f"SELECT {key[0]}, segment, offset_bytes, length_bytes, sha256 FROM {table} "  # noqa: S608
    f"WHERE segment NOT IN ({ELSEWHERE})"
    for table, key in KEYS.items()
)


@frozen
class Flip:
    """A bit to be turned back."""

    segment: str
    offset: int
    mask: int


@frozen
class Lost:
    """What only the database knows now."""

    owner: str
    """The turn, or the job."""
    pointer: Pointer


@frozen(kw_only=True)
class Plan:
    """What can be mended, and from where."""

    kept: tuple[Pointer, ...] = ()
    """Lines that the log has no more, and the database has."""
    flips: tuple[Flip, ...] = ()
    lost: tuple[Lost, ...] = ()
    rebuilds: bool = False
    manifests: tuple[str, ...] = ()
    """Sealed segments that are whole, but not their manifests."""
    copies: tuple[tuple[str, int], ...] = ()
    """Segment and offset of copies of lines that are not what the log has."""
    writers: tuple[str, ...] = ()
    """Whose rows are not what they should be."""
    strays: tuple[str, ...] = ()
    """Segments that somebody made by copying the files of others."""

    @property
    def steps(self) -> tuple[str, ...]:
        """Say it, one sentence each."""
        return (
            *(f"{at.segment}:{at.offset} is taken back from the database" for at in self.kept),
            *(f"a bit of {flip.segment}:{flip.offset} is turned back" for flip in self.flips),
            *(f"{lost.owner} is restored from the database" for lost in self.lost),
            *(["the tables are made again from the log"] if self.rebuilds else []),
            *(f"{segment} is sealed again" for segment in self.manifests),
            *([f"{len(self.copies)} copies of lines are made again"] if self.copies else []),
            *(f"the row of the writer {name} is made again" for name in self.writers),
            *(f"{segment}, a copy of another, is set aside" for segment in self.strays),
        )


@frozen(kw_only=True)
class Repaired:
    """What a repair came to, or what it would begin with."""

    found: tuple[Fault, ...]
    steps: tuple[str, ...]
    left: tuple[Fault, ...]
    """What is still there; what could not be mended unless it was a dry run."""


def repair(
    folder: DataFolder,
    clock: Clock,
    *,
    dry_run: bool,
    segment_bytes: int,
    show: Show = unshown,
) -> Repaired:
    """Mend what can be mended, beside a running server if there is one.

    Each step can be killed and done again, and what it takes away is kept beside it. Raises
    `OSError` or the database's error where there is no database to speak of: that is for `rebuild`.
    """
    found = _audit(folder, show)
    if dry_run or not found:
        return Repaired(found=found, steps=_plan(folder, found).steps, left=found)
    with locked(folder.events / "repair"):
        return _repair(folder, clock, found, segment_bytes, show)


def _repair(
    folder: DataFolder, clock: Clock, found: tuple[Fault, ...], segment_bytes: int, show: Show
) -> Repaired:
    first = _first(folder, found)
    _begin(folder, first)
    if any(fault.where.startswith("database:") for fault in found):
        if not _speaks_against_log(found):
            _rebuild(folder, show)
    elif any(fault.where.startswith("segments:") for fault in found):
        _mend_marks(folder, found, show)
    writer = Writer.open(folder, clock, segment_bytes=segment_bytes)  # It recovers first.
    try:
        steps = list(first.steps)
        if steps:
            _record(writer, first, found)
        left = _audit(folder, show)
        for _ in range(ROUNDS):
            plan = _plan(folder, left)
            if set(plan.steps) <= set(steps):
                break
            steps += plan.steps
            _carry_out(folder, writer, plan, left, show)
            left = _audit(folder, show)
    finally:
        writer.close()
    return Repaired(found=found, steps=tuple(steps), left=left)


def _audit(folder: DataFolder, show: Show) -> tuple[Fault, ...]:
    with show("verifying", folder.log_bytes) as tell:
        return audit(folder, tell).faults


def _mend_marks(folder: DataFolder, found: Sequence[Fault], show: Show) -> None:
    """Make the marks right before anybody writes on from them."""
    rest = [fault for fault in found if not fault.where.startswith("writers:")]
    if _plan(folder, rest).rebuilds:
        _rebuild(folder, show)


def _carry_out(
    folder: DataFolder, writer: Writer, plan: Plan, faults: Sequence[Fault], show: Show
) -> None:
    _record(writer, plan, faults)
    _begin(folder, plan)
    for flip in plan.flips:
        with locked(folder.lock):
            _turn_back(folder.events, flip)
    for at in range(0, len(plan.lost), GROUP_RECORDS):
        _restore(folder, writer, plan.lost[at : at + GROUP_RECORDS])
    if plan.rebuilds:
        _rebuild(folder, show)
    for segment in plan.manifests:
        _seal(folder, segment)
    for at in range(0, len(plan.copies), GROUP_RECORDS):
        _copy_again(folder, plan.copies[at : at + GROUP_RECORDS])


def _record(writer: Writer, plan: Plan, faults: Sequence[Fault]) -> None:
    texts = [f"{fault.kind} {fault.where}: {fault.text}" for fault in faults[:GROUP_RECORDS]]
    record = Repair(at=datetime.now(UTC), found=tuple(texts), steps=plan.steps)
    writer.commit([Draft.of(record)])


def _begin(folder: DataFolder, plan: Plan) -> None:
    """Do what needs no writer."""
    if plan.writers:
        _set_right(folder)
    if plan.kept:
        _take_back(folder, plan.kept)
    for segment in plan.strays:
        _set_aside(folder, segment)


def _first(folder: DataFolder, faults: Sequence[Fault]) -> Plan:
    """Plan what comes before anybody writes, and is recorded when it is done: who has a row that is
    wrong cannot write, who does not know of lines would write in their place, and who finds the
    copy of a segment takes all of it for torn.
    """
    writers = (f.where.removeprefix("writers:") for f in faults if f.where.startswith("writers:"))
    at = (copies.copy_at(fault.where) for fault in faults if fault.kind == "lost")
    there = list[Pointer]()
    if segments := {place[0] for place in at if place}:
        with closing(folder.tables.connect(writable=False)) as connection:
            for segment in sorted(segments):
                there += kept.lost_lines(connection, Log(folder.events), segment)
    return Plan(kept=tuple(there), writers=tuple(writers), strays=tuple(_strays(folder, faults)))


def _strays(folder: DataFolder, faults: Sequence[Fault]) -> Iterator[str]:
    """Yield the segments, or lone manifests, that are copies, and nothing to the database."""
    log, events = Log(folder.events), folder.events
    kinds = ("damaged", "lost")  # So says the audit of a manifest with another's name in it.
    named = {_segment(fault) for fault in faults if fault.kind in kinds} & manifest.sealed(events)
    if named:
        with closing(folder.projection(writable=False).connection) as connection:
            marks = Projection(connection, log).marks()
        yield from (each for each in sorted(named - marks.keys()) if manifest.is_copy(log, each))


def _plan(folder: DataFolder, faults: Sequence[Fault]) -> Plan:
    if not faults:
        return Plan()
    if (first := _first(folder, faults)).steps:
        return first
    log = Log(folder.events)
    lost, there, rest = [], [], list[Lost]()
    altered = {fault.where for fault in faults if fault.kind == "altered"}
    flips = [*_flips(log, _damaged_bodies(log, faults))]
    with closing(folder.projection(writable=False).connection) as connection:
        for each in _broken(log, connection, registered(folder, connection).elsewhere):
            if found := list(_flips(log, [each.pointer])):
                flips += [flip for flip in found if flip not in flips]
            elif _is_kept(log, connection, each.pointer):
                there.append(each.pointer)
            else:
                rest.append(each)
        wrong = _in_lines(log, [each.pointer for each in rest])
        for each in rest:
            if each.pointer in wrong or _rows_at(connection, each) <= altered:
                continue  # The row is wrong: the log has another in its place.
            if any(_bodies(connection, each)):
                lost.append(each)
        if not flips:
            there += _kept(log, connection, faults)
        if not (flips or there):
            flips += _header_flips(log, Projection(connection, log).marks(), faults)
    if flips or there or lost:
        return Plan(kept=tuple(dict.fromkeys(there)), flips=tuple(flips), lost=tuple(lost))
    is_trusted = not _speaks_against_log(faults)
    return Plan(
        rebuilds=any(map(_is_of_database, faults)) and is_trusted,
        manifests=tuple(_badly_sealed(faults)),
        copies=tuple(filter(None, (copies.copy_at(f.where) for f in faults if is_trusted))),
    )


def _kept(log: Log, connection: Connection, faults: Sequence[Fault]) -> Iterator[Pointer]:
    """Yield the lines that the log lacks, and the database has."""
    kinds = ("damaged", "torn", "lost", "broken_chain")
    for segment in sorted({_segment(fault) for fault in faults if fault.kind in kinds}):
        yield from kept.lost_lines(connection, log, segment)


def _is_kept(log: Log, connection: Connection, lost: Pointer) -> bool:
    """Whether the database keeps a line, and the log does not."""
    line = kept.line_at(connection, lost)
    if line is None or sha256(line).hexdigest() != lost.sha256:
        return False
    try:
        return log.raw(evolve(lost, length=len(line))) != line
    except FileNotFoundError:
        return True


def _broken(log: Log, connection: Connection, elsewhere: Collection[str]) -> Iterator[Lost]:
    """Yield the pointers of the database, but for those to segments that are elsewhere, which do
    not fit what is in the log.
    """
    for owner, segment, offset, length, checksum in connection.execute(
        _POINTERS, [json_list(elsewhere)] * len(KEYS)
    ):
        try:
            pointer = Pointer(segment=segment, offset=offset, length=length, sha256=checksum)
            bytes.fromhex(checksum)  # Raises where that is none.
            if sha256(log.raw(pointer)).hexdigest() != checksum:
                yield Lost(owner, pointer)
        except FileNotFoundError:
            yield Lost(owner, pointer)
        except (OSError, TypeError, ValueError, OverflowError):
            continue  # The row itself is damaged.


def _rows_at(connection: Connection, lost: Lost) -> set[str]:
    """Name the rows of a turn or a job that point to a place, as the audit does."""
    found = set()
    for table, key in KEYS.items():
        query = (
            f"SELECT {', '.join(key)} FROM {table} "  # noqa: S608
            f"WHERE {key[0]} = ? AND segment = ? AND offset_bytes = ?"
        )
        at = [lost.owner, lost.pointer.segment, lost.pointer.offset]
        found |= {f"{table}:{'/'.join(map(str, row))}" for row in connection.execute(query, at)}
    return found


def _damaged_bodies(log: Log, faults: Sequence[Fault]) -> Iterator[Pointer]:
    """Yield where, as their lines have it, damaged bodies are."""
    for fault in faults:
        segment, _, offset = fault.where.rpartition(":")
        if fault.kind == "damaged" and offset.isdecimal():
            entry = next(log.entries(segment, int(offset)))
            if extent := body_extent(entry.raw):
                start, length, checksum = extent
                at = entry.pointer.offset + start
                yield Pointer(segment=segment, offset=at, length=length, sha256=checksum)


def _flips(log: Log, pointers: Iterable[Pointer]) -> Iterator[Flip]:
    for pointer in pointers:
        try:
            if not (log.events / pointer.segment).exists():
                continue  # Lost, or compacted: then Parquet's own checksums tell.
            raw = log.raw(pointer)
            bit = changed_bit(raw, pointer.sha256) if len(raw) == pointer.length else None
        except (FileNotFoundError, ValueError):
            continue
        if bit is not None:
            yield Flip(pointer.segment, pointer.offset + bit // 8, 1 << bit % 8)


def _uncompacted(log: Log) -> Iterator[str]:
    """Yield the segments that are not compacted: in those no bit can be turned."""
    yield from (segment for segment in log.segments() if (log.events / segment).exists())


def _header_flips(log: Log, marks: Mapping[str, Mark], faults: Sequence[Fault]) -> Iterator[Flip]:
    named = {fault.where.removeprefix("segments:").partition(":")[0] for fault in faults}
    for segment, bit in changed_bits(log, marks, sorted(named & {*_uncompacted(log)})):
        yield Flip(segment, bit // 8, 1 << bit % 8)


def _in_lines(log: Log, pointers: Iterable[Pointer]) -> set[Pointer]:
    """Find the pointers to where the log has a line, or the middle of one."""
    found = set()
    by_place = sorted(pointers, key=lambda pointer: (pointer.segment, pointer.offset))
    for segment, group in groupby(by_place, lambda pointer: pointer.segment):
        waiting = deque(group)
        for entry in log.entries(segment) if log.size(segment) else ():
            while waiting and waiting[0].offset < entry.end:
                pointer = waiting.popleft()
                if entry.line is not None:
                    found.add(pointer)
            if not waiting:
                break
    return found


def _is_of_database(fault: Fault) -> bool:
    return fault.where.partition(":")[0] in (*KEYS, "segments", "database")


def _speaks_against_log(faults: Sequence[Fault]) -> bool:
    """Whether the log itself may be wrong, in a way that its lines do not show: then the tables
    may be the better copy, and are left alone.
    """
    damaged = {_segment(fault) for fault in faults if fault.kind in ("damaged", "torn")}
    return any(
        fault.kind in ("broken_chain", "lost")
        or (_is_of_manifest(fault) and fault.kind == "altered" and _segment(fault) not in damaged)
        for fault in faults
    )


def _badly_sealed(faults: Sequence[Fault]) -> Iterator[str]:
    """Yield the segments that are whole, while their manifests are not."""
    others = {_segment(fault) for fault in faults if not _is_of_manifest(fault)}
    agrees = not any(map(_is_of_database, faults))
    for fault in filter(_is_of_manifest, faults):
        if _segment(fault) not in others and (agrees or fault.kind == "damaged"):
            yield _segment(fault)


def _is_of_manifest(fault: Fault) -> bool:
    return fault.where.endswith(manifest.SUFFIX)


def _segment(fault: Fault) -> str:
    if _is_of_manifest(fault):
        return fault.where.removesuffix(manifest.SUFFIX) + ".jsonl"
    return fault.where.partition(":")[0]


def _turn_back(events: Path, flip: Flip) -> None:
    """Change one byte, after what the file held there is kept: no other change can be torn."""
    path, disk = events / flip.segment, Disk()
    with path.open("rb") as file:
        file.seek(flip.offset)
        (byte,) = file.read(1)
    kept = path.with_name(f"{path.name}.{flip.offset}.damaged")
    replace(disk, kept, bytes([byte]))
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.pwrite(fd, bytes([byte ^ flip.mask]), flip.offset)
        disk.sync(fd)
    finally:
        os.close(fd)


def _take_back(folder: DataFolder, lost: Sequence[Pointer]) -> None:
    with closing(folder.tables.connect(writable=False)) as connection, locked(folder.lock):
        for pointer in lost:
            kept.take_back(connection, Log(folder.events), pointer)


def _set_aside(folder: DataFolder, segment: str) -> None:
    """Rename a segment's files, the manifest last: it tells that they are a copy."""
    path, seal = folder.events / segment, manifest.place(folder.events, segment)
    with locked(folder.copying), locked(folder.lock):
        for each in (path, compacted.place(path), seal):
            if each.exists():
                each.replace(each.with_name(f"{each.name}.damaged"))
        Disk().sync_folder(path.parent)


def _set_right(folder: DataFolder) -> None:
    """Make the rows about our writers right."""
    with closing(folder.tables.connect()) as connection, locked(folder.lock):
        set_right(folder, connection, registered(folder, connection).wrong)


def _copy_again(folder: DataFolder, places: Sequence[tuple[str, int]]) -> None:
    projection = folder.projection()
    with closing(projection.connection), locked(folder.lock), projection.transaction():
        copies.make_again(folder, projection, places)


def _restore(folder: DataFolder, writer: Writer, lost: Sequence[Lost]) -> None:
    with closing(folder.tables.connect(writable=False)) as connection:
        drafts = [
            Draft.of(Repair(at=datetime.now(UTC), lost=each.pointer, restored={kind: body}))
            for each in lost
            for kind, body in _bodies(connection, each)
        ]
    writer.commit(drafts)


def _bodies(connection: Connection, lost: Lost) -> Iterator[tuple[str, Any]]:
    return bodies_at(connection, lost.owner, lost.pointer)


def _rebuild(folder: DataFolder, show: Show) -> None:
    """Make the tables again, after a copy is kept of what only they may know."""
    stamp = f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}"
    with locked(folder.lock):
        folder.tables.keep_copy(stamp)
    with show("rebuilding", folder.log_bytes) as tell:
        rebuild(folder, tell, may_forget=True)


def _seal(folder: DataFolder, segment: str) -> None:
    path = manifest.place(folder.events, segment)
    path.replace(path.with_name(f"{path.name}.damaged"))
    projection = folder.projection(writable=False)
    with closing(projection.connection):
        mark = projection.mark(segment)
        if mark is not None:
            manifest.seal(projection.log, projection.chain(mark.writer)[:-1])
