import os
import shutil
import signal
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest
from attrs import evolve
from coe_records.audit import audit
from coe_records.disk import Disk
from coe_records.folder import DataFolder
from coe_records.log import Log
from coe_records.rebuild import rebuild
from coe_records.writer import Draft, Writer

from coe_core.error import Unavailable
from coe_core.identity import AttemptId
from coe_core.ledger import Intent
from coe_core.record import Interaction, Pointer
from coe_core.testing.clock import EPOCH, ManualClock

Lose = Callable[[DataFolder], None]
Open = Callable[..., Writer]
Crash = Callable[[Writer], None]
MakeTurn = Callable[..., Interaction]
Tables = Callable[[DataFolder], dict[str, list[Any]]]

SEGMENT = "2026-11-01/interactions.jsonl"


@pytest.fixture
def write(
    folder: DataFolder, open_writer: Open, crash: Crash, make_turn: MakeTurn
) -> Callable[[int], list[Pointer]]:
    """Have a process write some turns, in groups of two, and kill it."""

    def write_(count: int) -> list[Pointer]:
        clock = ManualClock()
        writer = open_writer(folder, clock=clock)
        pointers = []
        for number in range(0, count, 2):
            clock._now = EPOCH.replace(minute=number // 2)
            pointers += writer.commit([Draft.of(make_turn(n)) for n in (number, number + 1)])
        crash(writer)
        return pointers

    return write_


def reopen(folder: DataFolder, open_writer: Open) -> None:
    open_writer(folder).close()


@pytest.mark.parametrize("database_kind", ["postgres"], indirect=True)
@pytest.mark.parametrize("recover", ["open", "rebuild"])
def test_a_commit_that_outlives_its_process_is_waited_for(
    folder: DataFolder, open_writer: Open, make_turn: MakeTurn, recover: str
) -> None:
    """The server goes on with a commit whose sender was killed, and recovery, which does not see
    its rows yet, would write them too.
    """
    reopen(folder, open_writer)
    with psycopg.connect(str(folder.server)) as connection:
        connection.execute("""
            CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql
            AS $$ BEGIN RAISE NOTICE 'here'; PERFORM pg_sleep(0.5); RETURN NULL; END $$;
            CREATE CONSTRAINT TRIGGER slow_commit AFTER INSERT ON interactions
            DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION dawdle()
        """)
    receiving, sending = os.pipe()
    if (child := os.fork()) == 0:
        try:
            writer = open_writer(folder)
            session: Any = writer._projection.connection
            session._raw.add_notice_handler(lambda _: os.write(sending, b"."))
            writer.commit([Draft.of(make_turn())])
        finally:
            os._exit(1)
    os.close(sending)
    assert os.read(receiving, 1), "it ended, and nothing was committed"
    os.close(receiving)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    if recover == "open":
        reopen(folder, open_writer)
    else:
        rebuild(folder)
    assert audit(folder).faults == ()


@pytest.mark.parametrize("torn", [b"{", b'{"kind":"interaction","writer":"w1"', b"\0" * 4096])
def test_torn_end_is_set_aside(
    folder: DataFolder, open_writer: Open, write: Callable[[int], Any], torn: bytes
) -> None:
    write(4)
    path = folder.events / SEGMENT
    whole = path.read_bytes()
    path.write_bytes(whole + torn)
    assert [fault.kind for fault in audit(folder).faults] == ["torn"]
    reopen(folder, open_writer)
    assert path.read_bytes() == whole
    assert path.with_name(f"{path.name}.{len(whole)}.torn").read_bytes() == torn
    assert audit(folder).faults == ()
    write(2)
    assert (audit(folder).records, audit(folder).faults) == (6, ())


def test_hole_in_the_last_group_is_set_aside_with_what_follows(
    folder: DataFolder, open_writer: Open, write: Callable[[int], list[Pointer]], tables: Tables
) -> None:
    """The disk may have written the end of a group and not its beginning."""
    pointers = write(4)
    forget_last_group(folder, pointers[2].offset)
    path = folder.events / SEGMENT
    raw = bytearray(path.read_bytes())
    raw[pointers[2].offset : pointers[2].offset + 512] = bytes(512)
    path.write_bytes(raw)
    reopen(folder, open_writer)
    assert path.stat().st_size == pointers[2].offset
    assert len(tables(folder)["interactions"]) == 2
    assert audit(folder).faults == ()


def test_damage_amid_acknowledged_groups_stays_where_it_is(
    folder: DataFolder,
    open_writer: Open,
    write: Callable[[int], list[Pointer]],
    tables: Tables,
    lose_database: Lose,
) -> None:
    """What follows was acknowledged, and is projected."""
    pointers = write(8)
    lose_database(folder)
    path = folder.events / SEGMENT
    raw = bytearray(path.read_bytes())
    raw[pointers[1].offset + 300] ^= 1
    path.write_bytes(raw)
    reopen(folder, open_writer)
    assert path.read_bytes() == raw
    assert len(tables(folder)["interactions"]) == 7
    assert [fault.kind for fault in audit(folder).faults] == ["damaged"]


def forget_last_group(folder: DataFolder, offset: int) -> None:
    """Set the database back to before the lines from that offset on, as a power cut may."""
    *_, last = Log(folder.events).entries(SEGMENT, 0, offset)
    assert last.line is not None
    with closing(folder.tables.connect()) as connection:
        for name in ("interactions", "chat_messages", "attempts", "lines"):
            connection.execute(f"DELETE FROM {name} WHERE offset_bytes >= ?", [offset])
        mark = [offset, last.line.seq, last.line.head]
        connection.execute("UPDATE segments SET end_bytes = ?, last_seq = ?, head = ?", mark)


@pytest.mark.parametrize("lost_from", [0, 2, 4])
def test_lines_that_the_database_lacks_are_projected(
    folder: DataFolder,
    open_writer: Open,
    write: Callable[[int], list[Pointer]],
    tables: Tables,
    lost_from: int,
    lose_database: Lose,
) -> None:
    pointers = write(6)
    before = tables(folder)
    if lost_from:
        forget_last_group(folder, pointers[lost_from].offset)
    else:
        lose_database(folder)
    reopen(folder, open_writer)
    assert tables(folder) == before
    assert audit(folder).faults == ()


def test_segment_of_a_living_writer_is_left_to_it(
    folder: DataFolder, open_writer: Open, make_turn: MakeTurn
) -> None:
    living = open_writer(folder)
    living.commit([Draft.of(make_turn())])
    path = folder.events / SEGMENT
    with path.open("ab") as file:
        file.write(b"a line that is being written")
    size = path.stat().st_size
    reopen(folder, open_writer)
    assert path.stat().st_size == size
    living.close()


def test_shortened_segment_is_not_written_on(
    folder: DataFolder, open_writer: Open, write: Callable[[int], list[Pointer]]
) -> None:
    """Its end would be taken for what the database knows to have been there."""
    os.truncate(folder.events / SEGMENT, write(4)[3].offset)
    assert {pointer.segment for pointer in write(2)} == {"2026-11-01/interactions.w1.1.jsonl"}
    assert {"lost", "dangling"} <= {fault.kind for fault in audit(folder).faults}


class StuckDisk(Disk):
    """A disk that, from some moment on, neither syncs nor truncates."""

    stuck = False

    def sync(self, fd: int) -> None:
        if self.stuck:
            raise OSError(5, "Input/output error")
        super().sync(fd)

    def truncate(self, fd: int, size_bytes: int) -> None:
        if self.stuck:
            raise OSError(5, "Input/output error")
        super().truncate(fd, size_bytes)


@pytest.mark.parametrize("database", ["kept", "lost"])
def test_lines_that_could_not_be_taken_back_do_not_count(
    folder: DataFolder,
    open_writer: Open,
    crash: Crash,
    make_turn: MakeTurn,
    tables: Tables,
    database: str,
    lose_database: Lose,
) -> None:
    """Their turns were refused, and the chain went on elsewhere."""
    disk = StuckDisk()
    writer = open_writer(folder, disk=disk)
    writer.commit([Draft.of(make_turn(0))])
    disk.stuck = True
    refused = make_turn(1)
    with pytest.raises(Unavailable, match="Input/output error"):
        writer.commit([Draft.of(refused)])
    disk.stuck = False
    assert refused.id.encode() in (folder.events / SEGMENT).read_bytes()
    (pointer,) = writer.commit([Draft.of(make_turn(2))])
    assert pointer.segment == "2026-11-01/interactions.w1.1.jsonl"
    crash(writer)
    if database == "lost":
        lose_database(folder)
    reopen(folder, open_writer)
    assert refused.id.encode() not in (folder.events / SEGMENT).read_bytes()
    assert refused.id not in {row[0] for row in tables(folder)["interactions"]}
    assert (audit(folder).records, audit(folder).faults) == (2, ())


@pytest.mark.parametrize("database", ["kept", "lost"])
def test_first_lines_of_a_segment_that_could_not_be_taken_back_do_not_count(
    folder: DataFolder,
    open_writer: Open,
    crash: Crash,
    make_turn: MakeTurn,
    monkeypatch: pytest.MonkeyPatch,
    database: str,
    lose_database: Lose,
) -> None:
    """Nor could the file be removed, and the clock went back."""
    disk, clock = StuckDisk(), ManualClock()
    writer = open_writer(folder, disk=disk, clock=clock)
    disk.stuck = True
    refused = [make_turn(0), make_turn(1)]
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", lambda *_, **__: disk.sync(0))
        with pytest.raises(Unavailable, match="Input/output error"):
            writer.commit([Draft.of(turn) for turn in refused])
    disk.stuck = False
    clock._now -= timedelta(hours=1)
    (pointer,) = writer.commit([Draft.of(make_turn(2))])
    assert pointer.segment == "2026-11-01/interactions.w1.1.jsonl"
    crash(writer)
    if database == "lost":
        lose_database(folder)
    reopen(folder, open_writer)
    assert Log(folder.events).segments() == [pointer.segment]
    assert (audit(folder).records, audit(folder).faults) == (1, ())


LAST = "writer = 'w1' AND last_seq = 8"
BEFORE = "writer = 'w1' AND last_seq < 8"
DAMAGED_MARKS = {
    "head": f"UPDATE segments SET head = 'x' || substr(head, 2) WHERE {LAST}",
    "last_seq": f"UPDATE segments SET last_seq = 9 WHERE {LAST}",
    "a smaller last_seq": f"UPDATE segments SET last_seq = 0 WHERE {LAST}",
    "a greater last_seq, before": f"UPDATE segments SET last_seq = 16 WHERE {BEFORE}",
    "first_seq": f"UPDATE segments SET first_seq = 0 WHERE {LAST}",
    "end_bytes": f"UPDATE segments SET end_bytes = end_bytes - 1 WHERE {LAST}",
    "a greater end_bytes": f"UPDATE segments SET end_bytes = end_bytes + 1 WHERE {LAST}",
    "path": f"UPDATE segments SET path = 'x' WHERE {LAST}",
    "writer": f"UPDATE segments SET writer = 'w3' WHERE {LAST}",
    "another's writer": "UPDATE segments SET writer = 'w1', last_seq = 99 WHERE writer = 'w2'",
    "all": "DELETE FROM segments",
}


@pytest.mark.parametrize("row", DAMAGED_MARKS)
def test_damaged_row_does_not_fork_the_chain(
    folder: DataFolder, open_writer: Open, make_turn: MakeTurn, sql: Any, row: str
) -> None:
    first, second = open_writer(folder, segment_bytes=3000), open_writer(folder)
    for number in range(0, 8, 2):
        first.commit([Draft.of(make_turn(n)) for n in (number, number + 1)])
        second.commit([Draft.of(make_turn(n)) for n in (10, 11)])
    first.close()
    second.close()
    assert sql.execute(DAMAGED_MARKS[row]).rowcount > 0
    for _ in range(2):
        writer = open_writer(folder, segment_bytes=3000)
        writer.commit([Draft.of(make_turn(20))])
        writer.close()
    faults = audit(folder).faults
    assert not [fault for fault in faults if fault.kind in ("broken_chain", "torn", "damaged")]
    log = Log(folder.events)
    lines = [entry.line for path in log.segments() for entry in log.entries(path)]
    places = [(line.writer, line.seq) for line in lines if line]
    assert len(places) == len(set(places)) == 18


@pytest.mark.parametrize("member", [b'"at":"2026', b'"prev":"', b'"seq":'])
def test_damaged_last_line_does_not_fork_the_chain(
    folder: DataFolder, open_writer: Open, make_turn: MakeTurn, member: bytes
) -> None:
    """It is still a line, of another head; once it is mended, what follows it follows."""
    writer = open_writer(folder)
    writer.commit([Draft.of(make_turn(n)) for n in range(3)])
    writer.close()
    path = folder.events / SEGMENT
    raw = path.read_bytes()
    at = raw.rindex(member) + len(member)
    path.write_bytes(raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :])
    writer = open_writer(folder)
    writer.commit([Draft.of(make_turn(4))])
    writer.close()
    path.write_bytes(raw + path.read_bytes()[len(raw) :])
    assert (audit(folder).records, audit(folder).faults) == (4, ())


class TestIntents:
    @pytest.fixture
    def die_in_an_attempt(
        self, folder: DataFolder, open_writer: Open, crash: Crash, make_turn: MakeTurn
    ) -> Interaction:
        """Leave one attempt that ended, and one that did not."""
        writer = open_writer(folder)
        turn = make_turn()
        for owner, attempt in ((turn.id, turn.attempts[0].id), ("t2", AttemptId("a2"))):
            writer.intents.add(
                Intent(
                    attempt_id=attempt,
                    owner_id=owner,
                    group="research",
                    model="small",
                    purpose="chat",
                    reserved_usd=Decimal("0.25"),
                    at=EPOCH,
                )
            )
        writer.commit([Draft.of(turn)])
        crash(writer)
        return turn

    def test_of_a_dead_process_are_settled_once(
        self,
        folder: DataFolder,
        open_writer: Open,
        die_in_an_attempt: Interaction,
        sql: Any,
    ) -> None:
        reopen(folder, open_writer)
        reopen(folder, open_writer)
        query = "SELECT owner_id, id, outcome, error_code, estimated, cost_usd FROM attempts"
        ended = (die_in_an_attempt.id, die_in_an_attempt.attempts[0].id, "ok", None, 0, None)
        settled = ("t2", "a2", "failed", "process_died", 1, "0.25")
        assert set(sql.execute(query)) == {ended, settled}
        assert (audit(folder).records, audit(folder).faults) == (2, ())

    def test_of_a_second_process_are_settled_by_the_first_to_come(
        self,
        folder: DataFolder,
        open_writer: Open,
        crash: Crash,
        make_turn: MakeTurn,
        sql: Any,
    ) -> None:
        first, second = open_writer(folder), open_writer(folder)
        second.intents.add(
            Intent(
                attempt_id=AttemptId("a9"),
                owner_id="t9",
                group="research",
                model="small",
                purpose="chat",
                reserved_usd=Decimal(1),
                at=EPOCH,
            )
        )
        crash(second)
        first.close()
        reopen(folder, open_writer)
        assert sql.execute("SELECT id FROM attempts").fetchall() == [("a9",)]
        shutil.rmtree(folder.writers / second.name)

    def test_settlement_gives_way_to_the_turn_that_comes_late(
        self,
        folder: DataFolder,
        open_writer: Open,
        die_in_an_attempt: Interaction,
        make_turn: MakeTurn,
        tables: Tables,
        lose_database: Lose,
    ) -> None:
        (attempt,) = make_turn().attempts
        late = make_turn(3, id="t2", root_id="t2", attempts=0)
        late = evolve(late, attempts=(evolve(attempt, id=AttemptId("a2")),))
        writer = open_writer(folder)
        writer.commit([Draft.of(late)])
        writer.close()
        outcomes = {row[1]: row[18] for row in tables(folder)["attempts"]}
        assert outcomes["a2"] == "ok"
        before = tables(folder)
        lose_database(folder)
        reopen(folder, open_writer)
        assert tables(folder) == before
        assert audit(folder).faults == ()
