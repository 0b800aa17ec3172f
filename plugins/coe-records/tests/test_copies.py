"""What Postgres has beside the tables: copies of lines, and whose writers are whose."""

import json
import shutil
import socket
from base64 import b64decode
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest
from coe_records.audit import audit
from coe_records.backup import back_up, restore
from coe_records.compaction import Compaction
from coe_records.copies import STRAYS_TOGETHER
from coe_records.database import Connection
from coe_records.envelope import GENESIS, seal
from coe_records.folder import DataFolder
from coe_records.log import Log
from coe_records.rebuild import rebuild
from coe_records.repair import Repaired, repair
from coe_records.writer import Draft, Writer
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from coe_core.error import Conflict, StartRefused
from coe_core.record import Interaction, StateChange
from coe_core.testing.clock import EPOCH, ManualClock

Open = Callable[..., Writer]
MakeTurn = Callable[..., Interaction]
Tables = Callable[[DataFolder], dict[str, list[Any]]]
Write = Callable[[DataFolder], None]
State = dict[str, list[Any]]

pytestmark = pytest.mark.parametrize("database_kind", ["postgres"], indirect=True)

COPIES = {
    "DELETE FROM lines WHERE offset_bytes = 0": {"missing"},
    "DELETE FROM lines": {"missing"},
    "UPDATE lines SET line = set_byte(line, 300, get_byte(line, 300) # 1)": {"altered"},
    "UPDATE lines SET line = line || '\\x00'": {"altered"},
    "UPDATE lines SET line = ''": {"altered"},
    "UPDATE lines SET group_name = 'rival'": {"altered"},
    "UPDATE lines SET group_name = NULL WHERE group_name IS NOT NULL": {"altered"},
    "UPDATE lines SET offset_bytes = offset_bytes + 1": {"missing", "dangling"},
    "UPDATE lines SET offset_bytes = offset_bytes + 4611686018427387904": {"missing", "dangling"},
    "UPDATE lines SET offset_bytes = offset_bytes + (-9223372036854775807 - 1)": {
        *("missing", "dangling")
    },
    "UPDATE lines SET segment = 'x' || segment": {"missing", "dangling"},
    "UPDATE lines SET segment = 'nowhere' WHERE segment = (SELECT max(segment) FROM lines)": {
        *("missing", "dangling")
    },
    "INSERT INTO lines SELECT 'again', offset_bytes, group_name, line FROM lines"
    " WHERE segment = (SELECT max(segment) FROM lines)": {"dangling"},
    "INSERT INTO lines SELECT 'nowhere', n, NULL, 'no line' FROM generate_series(-99, 99) AS n": {
        "dangling"
    },
}
"""What can happen to copies, to the kinds of faults that it makes."""

WRITERS = {
    "DELETE FROM writers": {"missing"},
    "UPDATE writers SET name = 'w8' WHERE name = 'w1'": {"missing", "dangling"},
    "UPDATE writers SET log = 'x'": {"altered"},
    "UPDATE writers SET host = 'x'": {"altered"},
    "UPDATE writers SET log = 'x', host = 'y'": {"altered"},
    "INSERT INTO writers SELECT 'w9', log, host FROM writers LIMIT 1": {"dangling"},
}


@pytest.fixture(scope="session")
def write(open_writer: Open, make_turn: MakeTurn) -> Write:
    """Have two processes write turns and a change in several segments."""

    def write_(folder: DataFolder) -> None:
        folder.path.mkdir(exist_ok=True)
        writers = [open_writer(folder, segment_bytes=2500) for _ in range(2)]
        for number in range(6):
            change = StateChange(key=f"toggles/{number}", value=True, actor="me", at=EPOCH)
            writers[number % 2].commit([Draft.of(make_turn(number)), Draft.of(change)])
        for writer in writers:
            writer.close()

    return write_


def state(folder: DataFolder) -> State:
    """Read copies and writers, but for copies of lines that tell of repairs."""
    with closing(folder.tables.connect(writable=False)) as connection:
        lines = connection.execute("SELECT * FROM lines ORDER BY segment, offset_bytes").fetchall()
        writers = connection.execute("SELECT * FROM writers ORDER BY name").fetchall()
    return {
        "lines": [row for row in lines if not row[3].startswith(b'{"kind":"repair"')],
        "writers": writers,
    }


def mend(folder: DataFolder) -> Repaired:
    return repair(folder, ManualClock(), dry_run=False, segment_bytes=1 << 20)


@pytest.mark.parametrize(("statement", "kinds"), [*COPIES.items(), *WRITERS.items()])
def test_damage_is_found_and_mended(
    folder: DataFolder,
    write: Write,
    tables: Tables,
    sql: Connection,
    statement: str,
    kinds: set[str],
) -> None:
    write(folder)
    assert audit(folder).faults == ()
    before, rows = state(folder), tables(folder)
    assert sql.execute(statement).rowcount > 0
    table = "lines:" if statement in COPIES else "writers:"
    found = audit(folder).faults
    assert {fault.kind for fault in found} == kinds
    assert {fault.where.partition(":")[0] + ":" for fault in found} == {table}
    assert len({fault.where for fault in found}) == len(found)
    repaired = mend(folder)
    assert (repaired.found, repaired.left) == (found, ())
    assert state(folder) == before
    assert tables(folder)["interactions"] == rows["interactions"]
    assert recorded(folder) == list(repaired.steps)


def recorded(folder: DataFolder) -> list[str]:
    """Tell the steps of repairs that the log has."""
    log = Log(folder.events)
    entries = [entry for path in log.segments() for entry in log.entries(path)]
    lines = [e.line for e in entries if e.line is not None and e.line.kind == "repair"]
    return [step for line in lines for step in json.loads(line.body)["steps"]]


@settings(max_examples=25, deadline=None, phases=[Phase.generate])
@given(
    copies=st.lists(st.sampled_from([*COPIES]), max_size=3, unique=True),
    writers=st.lists(st.sampled_from([*WRITERS]), max_size=1),
)
def test_damage_of_several_kinds_is_mended(
    new_folder: Callable[[], DataFolder], write: Write, copies: list[str], writers: list[str]
) -> None:
    folder = new_folder()
    write(folder)
    before = state(folder)
    with closing(folder.tables.connect()) as sql:
        for statement in (*copies, *writers):
            with suppress(psycopg.IntegrityError, psycopg.DataError):  # No row can be so.
                sql.execute(statement)
    is_damaged = state(folder) != before
    assert bool(audit(folder).faults) == is_damaged
    assert mend(folder).left == ()
    assert state(folder) == before


def test_what_a_copy_was_is_kept(folder: DataFolder, write: Write, sql: Connection) -> None:
    write(folder)
    sql.execute("UPDATE lines SET line = 'no line' WHERE offset_bytes = 0")
    damaged = sql.execute("SELECT segment, offset_bytes, group_name, line FROM lines").fetchall()
    mend(folder)
    (path,) = folder.path.glob("lines.*.damaged")
    kept = [json.loads(text) for text in path.read_text().splitlines()]
    assert sorted((*row[:3], b64decode(row[3])) for row in kept) == sorted(
        row for row in damaged if row[3] == b"no line"
    )


@pytest.mark.parametrize("count", [STRAYS_TOGETHER - 1, STRAYS_TOGETHER, 3 * STRAYS_TOGETHER + 1])
def test_every_copy_without_a_line_is_found(
    folder: DataFolder, write: Write, sql: Connection, count: int
) -> None:
    write(folder)
    copy = "INSERT INTO lines SELECT 'nowhere', n - 5, NULL, 'x' FROM generate_series(1, %s) AS n"
    sql.execute(copy.replace("%s", "?"), [count])
    assert len(audit(folder).faults) == count


def test_copy_of_the_line_of_another_log_is_found_in_a_segment(
    folder: DataFolder, write: Write, sql: Connection
) -> None:
    """It would stand in the way of the segment's next line."""
    write(folder)
    before = state(folder)
    line = seal("repair", "w77", 1, "2026-11-01T00:00:00.000000Z", GENESIS, b"{}").raw
    path = max(Log(folder.events).segments())
    place = [path, Log(folder.events).size(path)]
    sql.execute("INSERT INTO lines VALUES (?, ?, NULL, ?)", [*place, line])
    assert [fault.kind for fault in audit(folder).faults] == ["dangling"]
    assert mend(folder).left == ()
    assert state(folder) == before


def test_dry_run_changes_nothing(folder: DataFolder, write: Write, sql: Connection) -> None:
    write(folder)
    sql.execute("DELETE FROM lines")
    sql.execute("UPDATE writers SET log = 'x'")
    before = state(folder)
    planned = repair(folder, ManualClock(), dry_run=True, segment_bytes=1 << 20)
    assert all(step.startswith("the row of the writer") for step in planned.steps)
    assert state(folder) == before


def test_copies_of_compacted_segments_are_compared(
    folder: DataFolder, write: Write, sql: Connection
) -> None:
    write(folder)
    before = state(folder)
    assert Compaction(folder).compact(lambda _: None).segments > 0
    assert audit(folder).faults == ()
    sql.execute("UPDATE lines SET line = set_byte(line, 300, get_byte(line, 300) # 1)")
    assert len(audit(folder).faults) == len(before["lines"])
    assert mend(folder).left == ()
    assert state(folder) == before


def test_copy_that_differs_from_a_log_that_may_be_wrong_is_left_alone(
    folder: DataFolder, write: Write
) -> None:
    """The chain says that a line is not what it was: the copy may be the better one."""
    write(folder)
    before = state(folder)
    path = folder.events / "2026-11-01/interactions.jsonl"
    first, *rest = path.read_bytes().splitlines(keepends=True)
    forged = first.replace(b'"at":"2026', b'"at":"2025')
    path.write_bytes(b"".join([forged, *rest]))
    assert {"altered", "broken_chain"} <= {fault.kind for fault in audit(folder).faults}
    mend(folder)
    assert state(folder)["lines"][: len(before["lines"])] == before["lines"]


@pytest.mark.parametrize("what", ["end", "segment"])
def test_line_that_only_a_copy_tells_of_comes_back(
    folder: DataFolder, open_writer: Open, make_turn: MakeTurn, sql: Connection, what: str
) -> None:
    """No turn is lost, and the marks say that the log ends where it does."""
    with closing(open_writer(folder, segment_bytes=1000)) as writer:
        writer.commit([Draft.of(make_turn(n)) for n in range(2)])
        for number in range(3):
            change = StateChange(key=f"toggles/{number}", value=True, actor="me", at=EPOCH)
            writer.commit([Draft.of(change)])
    before = state(folder)
    path = folder.events / "2026-11-01/interactions.w1.1.jsonl"
    whole = path.read_bytes()
    if what == "end":
        path.write_bytes(b"".join(whole.splitlines(keepends=True)[:1]))
    else:
        path.unlink()
    with pytest.raises(Conflict, match="lines that the log has lost"):
        rebuild(folder)
    rebuild(folder, may_forget=True)
    assert {fault.kind for fault in audit(folder).faults} == {"lost"}
    repaired = mend(folder)
    assert repaired.left == ()
    assert {step.partition(" ")[2] for step in repaired.steps} == {
        "is taken back from the database"
    }
    assert path.read_bytes()[: len(whole)] == whole
    assert state(folder) == before
    assert recorded(folder) == list(repaired.steps)


@pytest.mark.parametrize("goes_to", ["the same server", "another"])
def test_restored_log_has_its_copies_and_its_writers(
    folder: DataFolder,
    new_folder: Callable[[], DataFolder],
    open_writer: Open,
    write: Write,
    tmp_path: Path,
    goes_to: str,
) -> None:
    """Also those writers that had nothing to write."""
    write(folder)
    writers = [open_writer(folder) for _ in range(5)]
    for writer in writers:
        writer.close()
    before = state(folder)
    back_up(folder, tmp_path / "saved")
    server = folder.server if goes_to == "the same server" else new_folder().server
    restored = DataFolder(tmp_path / "restored", server)
    assert restore(tmp_path / "saved", restored).faults == ()
    assert state(restored) == before
    write(restored)
    assert audit(restored).faults == ()


def test_machine_that_is_renamed_is_called_by_its_new_name(
    folder: DataFolder, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(folder)
    monkeypatch.setattr(socket, "gethostname", lambda: "renamed")
    assert audit(folder).faults == ()
    write(folder)
    assert {host for *_, host in state(folder)["writers"]} == {"renamed"}
    assert audit(folder).faults == ()


class TestMachines:
    @pytest.fixture
    def machines(
        self, new_folder: Callable[[], DataFolder], tmp_path: Path, write: Write
    ) -> list[DataFolder]:
        """Return the data folders of two machines that share a database."""
        first = new_folder()
        machines = [first, DataFolder(tmp_path / "second", first.server)]
        for folder in machines:
            write(folder)
        return machines

    @pytest.mark.parametrize("statement", [*COPIES, *WRITERS])
    def test_leave_to_each_what_is_its_own(
        self, machines: list[DataFolder], tables: Tables, statement: str
    ) -> None:
        """What one mends is nothing to the other, nor does it take it for its own."""
        mine, theirs = machines
        before, rows = state(theirs), tables(theirs)
        name = max(theirs.known_writers)
        with closing(theirs.tables.connect()) as sql:
            if statement in WRITERS:
                sql.execute(of_writer(statement, name))
            else:
                sql.execute(of_segments(statement, Log(theirs.events).segments()))
        damaged = state(theirs)
        assert damaged != before
        files = {path: path.stat().st_size for path in mine.path.rglob("*") if path.is_file()}
        assert audit(mine).faults == () or "no line" in statement
        if "no line" not in statement:
            assert mend(mine).found == ()
            assert (state(theirs), tables(theirs)) == (damaged, rows)
            assert {p: p.stat().st_size for p in mine.path.rglob("*") if p.is_file()} == files
        assert audit(theirs).faults
        assert mend(theirs).left == ()
        assert state(theirs) == before
        assert [audit(folder).faults for folder in machines] == [(), ()]

    def test_do_not_lose_their_rows_to_a_rebuild_while_no_row_names_their_writer(
        self, machines: list[DataFolder], tables: Tables
    ) -> None:
        before = tables(machines[0])
        with closing(machines[1].tables.connect()) as sql:
            sql.execute("DELETE FROM writers WHERE name = ?", [max(machines[1].known_writers)])
        rebuild(machines[0])
        assert tables(machines[0]) == before
        assert sum(audit(machines[0]).elsewhere.values()) > 0

    def test_do_not_take_the_name_of_a_writer_from_another(
        self, machines: list[DataFolder], write: Write
    ) -> None:
        """Both logs began where no other was: to one of them the database is closed."""
        alone = DataFolder(machines[1].path.with_name("alone"))
        write(alone)
        shutil.copytree(machines[0].writers, alone.writers, dirs_exist_ok=True)
        (alone.events / "id").write_text("another")
        before, stranger = state(machines[0]), DataFolder(alone.path, machines[0].server)
        assert audit(stranger).faults
        with pytest.raises(StartRefused, match="names of ours"):
            mend(stranger)
        assert state(machines[0]) == before


def of_writer(statement: str, name: str) -> str:
    """Let a statement be about one writer."""
    if "LIMIT" in statement:
        return statement.replace("LIMIT 1", f"WHERE name = '{name}'")
    return f"{statement.partition(' WHERE')[0]} WHERE name = '{name}'"


def of_segments(statement: str, segments: list[str]) -> str:
    """Let a statement be about copies of some segments."""
    statement = statement.replace("(SELECT max(segment) FROM lines)", f"'{max(segments)}'")
    own = "segment IN ({})".format(", ".join(f"'{segment}'" for segment in segments))
    if "generate_series" in statement:
        return statement
    where = "AND" if "WHERE" in statement else "WHERE"
    return f"{statement} {where} {own}"
