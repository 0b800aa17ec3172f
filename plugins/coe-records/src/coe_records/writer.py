"""The writer: takes a group of records to the log and into the tables, all or none of them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, TypeVar, cast

from attrs import define, field, frozen
from loguru import logger

from coe_core.codec import encode, rfc3339
from coe_core.error import StartRefused, Unavailable
from coe_core.message import Json
from coe_core.outage import Outage
from coe_core.record import (
    Feedback,
    Interaction,
    JobRun,
    Pointer,
    Record,
    Settlement,
    StateChange,
    Summary,
)
from coe_core.service import Clock
from coe_records.body import Body, body_of, owner_of
from coe_records.body import Repair as RepairBody
from coe_records.database import Connection, raised, reason
from coe_records.disk import Disk, find_room
from coe_records.envelope import GENESIS, Line, seal
from coe_records.folder import DataFolder, release
from coe_records.intent import IntentFile, read_intents
from coe_records.lock import Held, lock_path, locked, try_lock_path
from coe_records.manifest import is_sealed
from coe_records.manifest import seal as seal_segments
from coe_records.migration import migrate
from coe_records.projection import Mark, Projection, line_row
from coe_records.recovery import chain_end, recover
from coe_records.registry import outlast_dead, register
from coe_records.row import Rows
from coe_records.segment import Segment
from coe_records.step import Steps, take

ROOM_BYTES = 1 << 20
"""A disk that has no room for so much is full."""

TIDY_BYTES = 16 << 20
"""About how much the database may put off."""

RECORD_BYTES = 12_000
TRANSACTION_BYTES = 40_000
"""What SQLite writes besides the rows: pages anywhere in the indexes of random ids for each record,
the page at the end of the others for each transaction. Measured with 100,000 turns.
"""

LOCK_S = 30.0
"""How long to wait for another process that is between log and database."""


@frozen(kw_only=True)
class Repair:
    """The body of a line that tells of a repair: either what it found and did, or a record that
    the log has lost, in whose place it stands.
    """

    at: datetime
    found: tuple[str, ...] = ()
    steps: tuple[str, ...] = ()
    lost: Pointer | None = None
    restored: Mapping[str, Json] = field(factory=dict)
    """Kind to body: an interaction, feedback or a settlement, as far as the database knew it."""


T = TypeVar("T")

KINDS: Mapping[type[Any], str] = {
    Interaction: "interaction",
    StateChange: "state_change",
    Feedback: "feedback",
    Summary: "summary",
    JobRun: "job",
    Settlement: "settlement",
    Repair: "repair",
}


@frozen
class Draft:
    """A record, ready to be written."""

    kind: str
    id: str | None
    """Of what is written once; None for a record that may be written again."""
    body: Body
    """What its rows are made of."""
    text: bytes

    @property
    def rows(self) -> int:
        """About how many rows it comes to."""
        lists = ("new_messages", "exchange", "answer", "attempts")
        return 1 + sum(len(getattr(self.body, name, ())) for name in lists)

    @classmethod
    def of(cls, record: Record | Repair) -> Draft:
        """Turn a record into JSON."""
        kind, text = KINDS[type(record)], encode(record)
        id_ = record.id if isinstance(record, Interaction | Feedback | Summary) else None
        return cls(kind, id_, body_of(kind, text), text)


@define
class Writer:
    """One process's hand on log and database. Used by one thread at a time."""

    name: str
    _folder: DataFolder
    _projection: Projection
    _clock: Clock
    _disk: Disk
    _segment_bytes: int
    _claim: int
    _outage: Outage
    _mark: Mark | None = field(init=False)
    """Where our chain ends."""
    _segment: Segment | None = field(init=False)
    _retired: list[Segment] = field(factory=list, init=False)
    """Segments that may hold lines that were taken back, locked until our next line stands
    elsewhere, by which everybody can tell.
    """
    _tried_at: datetime = field(default=datetime.min.replace(tzinfo=UTC), init=False)
    """The time of the last group, written or not."""
    intents: IntentFile = field(init=False)
    """Which attempts are in flight. It may be used by another thread than the rest."""
    _sealing: ThreadPoolExecutor = field(init=False)
    """What seals the segments we have left, so that no turn waits until one is read."""
    _put_off_bytes: int = field(default=0, init=False)
    """About how much the database has put off writing where it belongs."""
    _is_behind: bool = field(default=False, init=False)
    """Whether the last group is in the log but maybe not in the database."""

    @classmethod
    def open(
        cls,
        folder: DataFolder,
        clock: Clock,
        *,
        disk: Disk | None = None,
        segment_bytes: int,
        outage: Outage | None = None,
    ) -> Writer:
        """Recover what other processes left, and become a writer."""
        disk, outage = disk or Disk(), outage or outage_of_writing()
        folder.make(disk)
        with locked(folder.lock, LOCK_S):
            migrate(folder.tables)
            projection = folder.projection()
            try:
                register(folder, projection.connection, folder.known_writers)
                outlast_dead(folder, projection.connection)
                recover(projection, disk)
                name, claim = _claim(folder, projection.connection)
            except BaseException:
                projection.connection.close()
                raise
            writer = cls(name, folder, projection, clock, disk, segment_bytes, claim, outage)
        try:
            writer.settle()
        except BaseException:
            writer.close()
            raise
        return writer

    def __attrs_post_init__(self) -> None:
        """Go on where this writer ended."""
        self._projection.connection.put_off()
        self._sealing = ThreadPoolExecutor(1, thread_name_prefix="coe-seal")
        self.intents = IntentFile(self._folder.intents(self.name))
        self._mark = chain_end(self._projection, self.name)
        self._segment = None
        if self._mark and self._mark.end_bytes == self._projection.log.size(self._mark.path):
            events = self._folder.events
            self._segment = Segment.reopen(self._disk, events, self._mark.path)
        left = self._projection.chain(self.name)[:-1]
        if any(not is_sealed(self._folder.events, mark.path) for mark in left):
            self._seal_segments(left)

    def settle(self) -> None:
        """Settle the attempts that were in flight in processes that have died."""
        claims = self._folder.dead_writers()
        try:
            for writer in (*claims, self.name):
                self._settle(writer)
        finally:
            for claim in claims.values():
                release(claim)

    def close(self) -> None:
        """Cease to be a writer."""
        self._sealing.shutdown()
        self.intents.close()
        for segment in (*self._retired, *([self._segment] if self._segment else [])):
            segment.close()
        self._tidy()
        self._projection.connection.close()
        release(self._claim)

    @property
    def waits(self) -> bool:
        """Whether its database is somewhere else, so that each statement waits for an answer."""
        return self._projection.connection.waits

    def known(self, ids: Iterable[str]) -> set[str]:
        """Return those ids of turns and feedback that are recorded already."""
        return set(self._projection.known(list(ids)))

    def commit(self, drafts: Sequence[Draft]) -> list[Pointer]:
        """Write a group: one write, one sync, one transaction. What is returned is durable, and
        where the database keeps the lines too, it is so there as well.

        A turn, or feedback, that is recorded already is not written again. Raises `Unavailable`
        when the disk or the database does not take it; another try may then succeed. Nothing was
        written, unless what failed was the commit to a database that keeps lines: the log has them
        then, and the database will.
        """
        return take(self.committing(drafts))

    def committing(self, drafts: Sequence[Draft]) -> Steps[list[Pointer]]:
        """Write a group in steps, as `commit` does at once."""
        pointers = yield from self._in_transaction(self._write(drafts))
        if self._put_off_bytes > TIDY_BYTES:
            self._put_off_bytes = 0
            yield self._tidy
        return pointers

    def rehearse(self) -> None:
        """Do what a group takes, but leave the log alone and take back the rest. Raises
        `Unavailable` when the disk or the database would not take a group.
        """
        take(self._in_transaction(self._rehearse()))

    def _rehearse(self) -> Steps[None]:
        segment = yield from self._segment_of(self._time_of_group()[:10])
        mark = Mark(segment.path, self.name, 0, 0, segment.end, GENESIS)
        self._projection.insert(Rows(), mark)
        find_room(self._disk, self._folder.writers / self.name / "room.new", ROOM_BYTES)

    def _in_transaction(self, work: Steps[T]) -> Steps[T]:
        """Do work within a transaction, which it has to commit."""
        with self._refusing():
            lock = try_lock_path(self._folder.lock)
            if lock is None:
                lock = yield partial(lock_path, self._folder.lock, LOCK_S)
            try:
                if self._is_behind:
                    yield self._catch_up
                if not self._projection.begin_at_once():
                    yield self._projection.begin
                return (yield from work)
            finally:
                try:
                    self._projection.roll_back()
                finally:
                    os.close(lock)

    def _tidy(self) -> None:
        try:
            self._projection.connection.tidy()
        except raised() as error:
            logger.bind(error=str(error)).warning("the database is not tidied; it will be later")

    def _write(self, drafts: Sequence[Draft]) -> Steps[list[Pointer]]:
        ids = [draft.id for draft in drafts if draft.id is not None]
        places: dict[Any, Pointer] = dict(self._projection.known(ids))
        keys = [draft.id or number for number, draft in enumerate(drafts)]
        fresh = {k: d for k, d in zip(keys, drafts, strict=True) if k not in places}
        if fresh:
            written = yield from self._write_new(list(fresh.values()))
            places |= zip(fresh, written, strict=True)
        return [places[key] for key in keys]

    def _write_new(self, drafts: Sequence[Draft]) -> Steps[list[Pointer]]:
        at = self._time_of_group()
        segment = yield from self._segment_of(at[:10])
        lines = list(self._seal(drafts, at))
        pointers, rows, copies, end = [], Rows(), [], segment.end
        for draft, line in zip(drafts, lines, strict=True):
            pointers.append(line.pointer(segment.path, end))
            rows.add(draft.body, pointers[-1])
            copies.append(line_row(pointers[-1], draft.body, line.raw))
            end += len(line.raw)
        goes_on = self._mark is not None and self._mark.path == segment.path
        first_seq = self._mark.first_seq if self._mark and goes_on else lines[0].seq
        mark = Mark(segment.path, self.name, first_seq, lines[-1].seq, end, lines[-1].head)
        for draft in drafts:
            if isinstance(draft.body, RepairBody):
                self._forget_lost(draft.body)
        # Rows that the database refuses are refused before anything is in the log.
        self._projection.insert(rows, mark, copies)
        text = b"".join(line.raw for line in lines)
        yield from self._append(segment, text)
        acknowledge = partial(self._acknowledge, mark)
        if self._put_off_bytes:
            acknowledge()
        else:  # SQLite syncs the beginning of a write-ahead log.
            yield acknowledge
        self._put_off_bytes += 2 * len(text) + RECORD_BYTES * len(drafts) + TRANSACTION_BYTES
        return pointers

    def _time_of_group(self) -> str:
        """Tell the time, later than that of any line that was taken back and may be there yet."""
        now = self._clock.now()
        if self._retired and now <= self._tried_at:
            now = self._tried_at + timedelta(microseconds=1)
        self._tried_at = now
        return rfc3339(now)

    def _forget_lost(self, repair: RepairBody) -> None:
        """Make room for what is restored, in the transaction in which it is."""
        for restored in repair.records():
            lost, owner = repair.lost, owner_of(restored)
            self._projection.forget(owner, lost["segment"], lost["offset"])

    def _seal(self, drafts: Sequence[Draft], at: str) -> Iterator[Line]:
        seq, head = (self._mark.last_seq, self._mark.head) if self._mark else (0, GENESIS)
        for seq, draft in enumerate(drafts, start=seq + 1):  # noqa: B020 it goes on from there
            line = seal(draft.kind, self.name, seq, at, head, draft.text)
            head = line.head
            yield line

    def _segment_of(self, day: str) -> Steps[Segment]:
        segment = self._segment
        if segment is not None:
            if segment.path.startswith(day) and segment.end < self._segment_bytes:
                return segment
            self._segment = None
            segment.close()
        make = partial(
            Segment.create, self._disk, self._folder.events, day, self.name, self._is_taken
        )
        segment = self._segment = cast("Segment", (yield make))
        self._seal_segments(self._projection.chain(self.name))
        return segment

    def _is_taken(self, path: str) -> bool:
        return self._projection.mark(path) is not None

    def _seal_segments(self, marks: Sequence[Mark]) -> None:
        """Seal segments meanwhile."""
        if marks:
            self._sealing.submit(seal_segments, self._projection.log, marks)

    def _append(self, segment: Segment, text: bytes) -> Steps[None]:
        try:
            yield from segment.append(text)
        except OSError:
            if not segment.sound:
                self._segment = None
                self._retire(segment)
            raise

    def _retire(self, segment: Segment) -> None:
        if segment.end or not segment.remove(self._folder.events):
            self._retired.append(segment)

    def _acknowledge(self, mark: Mark) -> None:
        """Go on from the group: the log has it, so it counts, whatever the database does."""
        self._mark = mark
        try:
            self._projection.commit()
        except self._projection.connection.Error as error:
            self._is_behind = True
            logger.bind(error=str(error)).error("the database did not commit; it will catch up")
            if self._projection.keeps_lines:
                self._catch_up()
        while self._retired:
            self._retired.pop().close()

    def _catch_up(self) -> None:
        if self._is_behind and self._mark is not None:
            with self._projection.transaction():
                self._projection.replay(self._mark.path, end=self._mark.end_bytes)
            self._is_behind = False

    @contextmanager
    def _refusing(self) -> Iterator[None]:
        try:
            yield
        except Held as error:
            self._outage.met(error)
            raise Unavailable(
                f"the record of the turn cannot be written: {error}; the server goes on by itself "
                "once that one ends or goes on",
                retry_after_s=5,
            ) from error
        except raised() as error:
            connection = self._projection.connection
            if isinstance(error, (connection.IntegrityError, connection.DataError)):
                raise
            self._outage.met(error, folder=str(self._folder.path))
            raise Unavailable(
                f"the record of the turn cannot be written: {self._reason(error)}; the server "
                "then goes on by itself",
                retry_after_s=5,
            ) from error
        self._outage.passed()

    def _reason(self, error: Exception) -> str:
        if not isinstance(error, OSError) and self._folder.server is not None:
            return "the database does not take it. See to the Postgres server"
        return f"{reason(error)}. Free some room in the data folder, or make it writable"

    def _settle(self, writer: str) -> None:
        path = self._folder.intents(writer)
        intents = {intent.attempt_id: intent for intent in read_intents(path)}
        owners = [intent.owner_id for intent in intents.values()]
        still_open = self._projection.open_attempts(list(intents), owners)
        orphans = [intent for id_, intent in intents.items() if id_ in still_open]
        if orphans:
            self.commit([Draft.of(Settlement(intent=intent)) for intent in orphans])
            logger.bind(count=len(orphans)).warning("attempts of a killed process are settled")
        if writer == self.name:
            self.intents.clear()
        else:
            path.unlink(missing_ok=True)


def outage_of_writing() -> Outage:
    """Return what is told of a log or database that does not take records."""
    return Outage("the record cannot be written", "records are written again")


def _claim(folder: DataFolder, connection: Connection) -> tuple[str, int]:
    """Become a writer of this folder, and let no copy of the folder on another machine be it."""
    name, claim = folder.claim()
    register(folder, connection, [name])
    if not connection.hold(name):
        release(claim)
        raise StartRefused(
            f"another machine writes as {name}, which is a writer of this data folder: one of the "
            "two is a copy. Begin with an empty folder here"
        )
    return name, claim
