"""A fault at each call in turn, of the operating system and of the database."""

import errno
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import contextmanager
from typing import Any

import pytest
from attrs import define, field
from coe_records import sqlite
from coe_records.audit import audit
from coe_records.disk import Disk
from coe_records.folder import DataFolder
from coe_records.log import Log
from coe_records.projection import Projection
from coe_records.writer import Draft, Writer

from coe_core.error import Unavailable
from coe_core.record import Interaction
from coe_core.testing.clock import EPOCH, ManualClock

Open = Callable[..., Writer]


@define
class Faults:
    """Lets the calls `first` to `last`, counted from 0, fail."""

    first: int
    last: int
    calls: int = field(default=0, init=False)

    def strike(self) -> bool:
        self.calls += 1
        return self.first < self.calls <= self.last + 1


class FaultyDisk(Disk):
    def __init__(self, faults: Faults, number: int, *, writes_part: bool = False) -> None:
        self.faults = faults
        self.error = OSError(number, "an injected fault")
        self.writes_part = writes_part

    def create(self, path: Any) -> int:
        self._call()
        return super().create(path)

    def write(self, fd: int, text: bytes | memoryview) -> int:
        if not self.faults.strike():
            return super().write(fd, text)
        if self.writes_part:
            super().write(fd, text[: len(text) // 2])
        raise self.error

    def sync(self, fd: int) -> None:
        self._call()
        super().sync(fd)

    def truncate(self, fd: int, size_bytes: int) -> None:
        self._call()
        super().truncate(fd, size_bytes)

    def sync_folder(self, path: Any) -> None:
        self._call()
        super().sync_folder(path)

    def _call(self) -> None:
        if self.faults.strike():
            raise self.error


class FaultyConnection(sqlite.SqliteConnection):
    """Fails before the statement or, as when the answer is lost, after it."""

    faults = Faults(0, -1)
    is_late = False

    def execute(self, *arguments: Any) -> sqlite3.Cursor:
        with self._struck():
            return super().execute(*arguments)

    def executemany(self, *arguments: Any) -> sqlite3.Cursor:
        with self._struck():
            return super().executemany(*arguments)

    @contextmanager
    def _struck(self) -> Any:
        strikes = self.faults.strike()
        if strikes and not self.is_late:
            raise sqlite3.OperationalError("an injected fault")
        yield
        if strikes:
            raise sqlite3.OperationalError("an injected fault")


def run(
    writer: Writer, clock: ManualClock, make_turn: Callable[..., Interaction]
) -> tuple[set[str], set[str]]:
    """Write groups over two days; returns which turns were acknowledged, and which refused."""
    acknowledged: set[str] = set()
    refused: set[str] = set()
    refusals: list[str] = []
    for number in range(6):
        clock._now = EPOCH.replace(day=1 + number // 3, minute=number)
        turns = [make_turn(number), make_turn(number)]
        try:
            writer.commit([Draft.of(turn) for turn in turns])
            acknowledged |= {turn.id for turn in turns}
        except Unavailable as error:
            refusals.append(error.message)
            refused |= {turn.id for turn in turns}
    assert all("injected fault" in told and "/" not in told for told in refusals)
    return acknowledged, refused


def assert_agreement(folder: DataFolder, acknowledged: set[str], refused: set[str]) -> None:
    """See that the log and the database hold what was acknowledged, once; a turn that was
    refused may be there if a crash kept it from being taken back, but then whole.
    """
    report = audit(folder)
    assert report.faults == ()
    log = Log(folder.events)
    lines = [e.raw for path in log.segments() for e in log.entries(path)]
    counts = {id_: sum(id_.encode() in line for line in lines) for id_ in acknowledged | refused}
    assert all(counts[turn_id] == 1 for turn_id in acknowledged)
    assert all(counts[turn_id] <= 1 for turn_id in refused)
    assert report.records == sum(counts.values())


@pytest.mark.parametrize("lasts", [1, 3])
@pytest.mark.parametrize("error", [(errno.EIO, False), (errno.ENOSPC, True)])
@pytest.mark.parametrize("ends", ["crashes", "closes"])
def test_no_fault_of_the_disk_loses_a_turn(
    new_folder: Callable[[], DataFolder],
    open_writer: Open,
    crash: Callable[[Writer], None],
    make_turn: Callable[..., Interaction],
    error: tuple[int, bool],
    lasts: int,
    ends: str,
) -> None:
    at, struck = 0, True
    while struck:
        folder, clock, faults = new_folder(), ManualClock(), Faults(10**9, 10**9)
        disk = FaultyDisk(faults, error[0], writes_part=error[1])
        writer = open_writer(folder, clock=clock, disk=disk)
        faults.calls, faults.first, faults.last = 0, at, at + lasts - 1
        acknowledged, refused = run(writer, clock, make_turn)
        struck = faults.calls > faults.first
        assert bool(refused) == struck or lasts > 1
        assert len(acknowledged) >= 12 - 2 * lasts, "it goes on by itself"
        (crash if ends == "crashes" else Writer.close)(writer)
        open_writer(folder).close()
        assert_agreement(folder, acknowledged, refused)
        at += 1
    assert at > 15


def test_segment_that_could_not_be_synced_takes_no_other_line(
    folder: DataFolder, open_writer: Open, make_turn: Callable[..., Interaction]
) -> None:
    """The kernel may have dropped what was written, and say next time that all is well."""
    faults = Faults(10**9, 10**9)
    writer = open_writer(folder, disk=FaultyDisk(faults, errno.EIO))
    (first,) = writer.commit([Draft.of(make_turn())])
    faults.first = faults.last = faults.calls + 1  # After the write, the sync.
    with pytest.raises(Unavailable):
        writer.commit([Draft.of(make_turn())])
    (second,) = writer.commit([Draft.of(make_turn())])
    writer.close()
    assert first.segment != second.segment
    assert (audit(folder).records, audit(folder).faults) == (2, ())


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
@pytest.mark.parametrize("lasts", [1, 2])
@pytest.mark.parametrize("strikes", ["before", "after"])
def test_no_fault_of_the_database_loses_a_turn(
    new_folder: Callable[[], DataFolder],
    open_writer: Open,
    crash: Callable[[Writer], None],
    make_turn: Callable[..., Interaction],
    strikes: str,
    lasts: int,
) -> None:
    at, struck = 0, True
    while struck:
        folder, clock = new_folder(), ManualClock()
        writer = open_writer(folder, clock=clock)
        connection = sqlite3.connect(
            folder.database, factory=FaultyConnection, isolation_level=None
        )
        connection.faults = Faults(at, at + lasts - 1)
        connection.is_late = strikes == "after"
        writer._projection.connection.close()
        writer._projection = Projection(connection, writer._projection.log)
        acknowledged, refused = run(writer, clock, make_turn)
        struck = connection.faults.calls > connection.faults.first
        crash(writer)
        open_writer(folder).close()
        assert_agreement(folder, acknowledged, refused)
        at += 1
    assert at > 40


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from coe_core.clock import SystemClock
from coe_core.error import Unavailable
from coe_core.record import StateChange
from coe_records.folder import DataFolder
from coe_records.writer import Draft, Writer

clock = SystemClock()
record = StateChange(key="k", value="x" * 5000, actor="me", at=clock.now())
folder = DataFolder(Path(sys.argv[1]), *sys.argv[3:])
writer = Writer.open(folder, clock, segment_bytes=1 << 30)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
written = refused = 0
for _ in range(100):
    try:
        writer.commit([Draft.of(record)])
        written += 1
    except Unavailable as error:
        refused += 1
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
for _ in range(5):
    writer.commit([Draft.of(record)])
print(written, refused)
"""


@pytest.mark.parametrize("limit_bytes", [60_000, 150_000, 250_000])
def test_full_disk_refuses_until_there_is_room(folder: DataFolder, limit_bytes: int) -> None:
    """The kernel itself says so here: to the log first, or to the database."""
    command = [sys.executable, "-c", FULL_DISK, str(folder.path), str(limit_bytes)]
    command += [folder.server] if folder.server else []
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    written, refused = map(int, result.stdout.split())
    assert written > 0
    assert refused > 0
    report = audit(folder)
    assert (report.records, report.faults) == (written + 5, ())


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
def test_database_that_another_tool_holds_is_waited_for(
    folder: DataFolder,
    open_writer: Open,
    make_turn: Callable[..., Interaction],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sqlite, "BUSY_S", 0.01)
    writer = open_writer(folder)
    other = sqlite3.connect(folder.database, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(Unavailable, match="locked"):
        writer.commit([Draft.of(make_turn())])
    other.execute("ROLLBACK")
    other.close()
    writer.commit([Draft.of(make_turn())])
    writer.close()
    assert (audit(folder).records, audit(folder).faults) == (1, ())
