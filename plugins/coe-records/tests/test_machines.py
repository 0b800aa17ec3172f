"""Several machines on one Postgres: what each has alone, and what becomes of one that is lost."""

import asyncio
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
from coe_records.audit import audit
from coe_records.folder import DataFolder
from coe_records.log import Log
from coe_records.projection import Projection
from coe_records.reader import Reader
from coe_records.rebuild import rebuild
from coe_records.records import Records
from coe_records.repair import repair
from coe_records.writer import Draft, Writer

from coe_core.error import StartRefused, Unavailable
from coe_core.record import Interaction, StateChange
from coe_core.settings import Secret
from coe_core.testing.clock import EPOCH, ManualClock
from coe_core.testing.postgres import Cluster, NoPostgres, cluster

Open = Callable[..., Writer]
MakeTurn = Callable[..., Interaction]
Tables = Callable[[DataFolder], dict[str, list[Any]]]

pytestmark = pytest.mark.parametrize("database_kind", ["postgres"], indirect=True)


@pytest.fixture
def machines(new_folder: Callable[[], DataFolder], tmp_path: Path) -> list[DataFolder]:
    """Return the data folders of two machines that share a database."""
    first = new_folder()
    return [first, DataFolder(tmp_path / "second", first.server)]


def write(folder: DataFolder, open_writer: Open, *turns: Interaction) -> None:
    folder.path.mkdir(exist_ok=True)
    with closing(open_writer(folder)) as writer:
        writer.commit([Draft.of(turn) for turn in turns])


def test_never_share_a_writer_or_a_segment(
    machines: list[DataFolder], open_writer: Open, make_turn: MakeTurn
) -> None:
    for folder in machines:
        write(folder, open_writer, make_turn(0), make_turn(1))
        write(folder, open_writer, make_turn(2))
    reports = [audit(folder) for folder in machines]
    assert [(r.segments, r.records, r.faults) for r in reports] == [(1, 3, ())] * 2
    assert [sum(r.elsewhere.values()) for r in reports] == [1, 1]
    assert set(machines[0].known_writers).isdisjoint(machines[1].known_writers)


async def test_turn_of_a_lost_machine_is_read_on_another(
    machines: list[DataFolder], open_writer: Open, make_turn: MakeTurn
) -> None:
    turn = make_turn()
    write(machines[1], open_writer, turn)
    write(machines[0], open_writer, make_turn())
    shutil.rmtree(machines[1].path)
    reader = Reader(machines[0])
    await reader.open()
    assert await reader.interaction("research", turn.id) == turn
    await reader.close()
    assert audit(machines[0]).faults == ()


async def test_log_of_every_machine_is_followed_on_each(
    machines: list[DataFolder], open_writer: Open, make_turn: MakeTurn
) -> None:
    """Also that of one that is gone, and each record once."""
    turns = [make_turn(n) for n in range(4)]
    write(machines[0], open_writer, *turns[:2])
    write(machines[1], open_writer, turns[2])
    reader = Reader(machines[0])
    await reader.open()
    first = [stretch async for stretch in reader.follow()]
    write(machines[1], open_writer, turns[3])
    shutil.rmtree(machines[1].path)
    rest = [stretch async for stretch in reader.follow(first[-1].cursor)]
    await reader.close()
    assert {r.id for s in first for r in s.records} == {turn.id for turn in turns[:3]}
    assert [record for stretch in rest for record in stretch.records] == [turns[3]]


def garble(path: Path, lines: list[bytes]) -> None:
    """Spoil the second and the third line, and what is between them."""
    start = len(lines[0]) + 9
    whole = path.read_bytes()
    path.write_bytes(whole[:start] + b"\0" * len(lines[1]) + whole[start + len(lines[1]) :])


def cut(path: Path, lines: list[bytes]) -> None:
    path.write_bytes(path.read_bytes()[: len(lines[0]) + 20])


def remove(path: Path, lines: list[bytes]) -> None:
    path.unlink()


def test_length_that_is_wrong_is_mended_from_the_log(
    folder: DataFolder, open_writer: Open, make_turn: MakeTurn, tables: Tables, sql: Any
) -> None:
    """It is not taken for a line that the log lacks, though the database keeps it."""
    write(folder, open_writer, make_turn(0), make_turn(1))
    before = tables(folder)
    sql.execute("UPDATE interactions SET length_bytes = length_bytes + 8192")
    assert repair(folder, ManualClock(), dry_run=False, segment_bytes=1 << 20).left == ()
    assert tables(folder)["interactions"] == before["interactions"]


@pytest.mark.parametrize("lose", [garble, cut, remove])
def test_bytes_of_the_log_are_taken_back(
    lose: Callable[[Path, list[bytes]], None],
    folder: DataFolder,
    open_writer: Open,
    make_turn: MakeTurn,
    tables: Tables,
) -> None:
    """Those of records without rows, too."""
    change = StateChange(key="toggles/x", value=False, actor="tester", at=EPOCH)
    with closing(open_writer(folder, segment_bytes=2500)) as writer:
        for records in ([make_turn(0)], [change], [make_turn(1)], [make_turn(2), make_turn(3)]):
            writer.commit([Draft.of(record) for record in records])
    log, before = Log(folder.events), tables(folder)
    bytes_before = {path: (folder.events / path).read_bytes() for path in log.segments()}
    segment = max(bytes_before, key=lambda path: bytes_before[path].count(b"\n"))
    lose(folder.events / segment, bytes_before[segment].splitlines(keepends=True))
    assert audit(folder).faults
    repaired = repair(folder, ManualClock(), dry_run=False, segment_bytes=1 << 20)
    assert repaired.left == ()
    assert {step.partition(" ")[2] for step in repaired.steps} == {
        "is taken back from the database"
    }
    for path, whole in bytes_before.items():
        assert (folder.events / path).read_bytes()[: len(whole)] == whole
    assert tables(folder)["interactions"] == before["interactions"]


def test_rebuild_on_one_leaves_the_rows_of_the_other(
    machines: list[DataFolder], open_writer: Open, make_turn: MakeTurn, tables: Tables
) -> None:
    for folder in machines:
        write(folder, open_writer, make_turn(0), make_turn(1))
    before = tables(machines[0])
    shutil.rmtree(machines[1].path)
    assert rebuild(machines[0]).records == 2
    assert tables(machines[0]) == before


def test_copy_of_a_folder_in_use_is_refused(
    machines: list[DataFolder], open_writer: Open, make_turn: MakeTurn, tmp_path: Path
) -> None:
    write(machines[0], open_writer, make_turn())
    copy = DataFolder(tmp_path / "copy", machines[0].server)
    shutil.copytree(machines[0].path, copy.path)
    with closing(open_writer(machines[0])), pytest.raises(StartRefused, match="is a copy"):
        open_writer(copy)


def test_log_with_writers_of_the_same_names_is_refused(
    machines: list[DataFolder], open_writer: Open, make_turn: MakeTurn
) -> None:
    """Both were made while each had a database to itself: nothing tells their segments apart."""
    write(machines[0], open_writer, make_turn())
    alone = DataFolder(machines[1].path)
    write(alone, open_writer, make_turn())
    segment = alone.events / "2026-11-01/interactions.jsonl"
    before = segment.read_bytes()
    with pytest.raises(StartRefused, match="names of ours"):
        open_writer(machines[1])
    assert segment.read_bytes() == before


@pytest.fixture
def server(database_kind: str) -> Iterator[Cluster]:
    """Run a server that may be stopped."""
    assert database_kind == "postgres"
    with ExitStack() as stack:
        try:
            running = stack.enter_context(cluster())
        except NoPostgres as reason:
            pytest.skip(str(reason))
        yield running


async def test_server_that_goes_away_refuses_turns_until_it_is_back(
    tmp_path: Path, make_turn: MakeTurn, server: Cluster
) -> None:
    address = tmp_path / "address"
    address.write_text(server.url)
    folder = DataFolder(tmp_path / "data", server.url)
    folder.path.mkdir()
    records = Records(folder.path, ManualClock(), 1 << 20, Secret(f"file:{address}"))
    try:
        await records.open()
        turns = [make_turn(n) for n in range(4)]
        await records.append(turns[0])
        await asyncio.to_thread(server.stop, at_once=True)
        with pytest.raises(Unavailable) as refusal:
            await records.append(turns[1])
        assert str(tmp_path) not in refusal.value.message
        assert "coe-postgres" not in refusal.value.message
        await asyncio.to_thread(server.start)
        await records.append(turns[2])
        await asyncio.to_thread(server.stop)  # As for an upgrade: nobody is writing just then.
        await asyncio.to_thread(server.start)
        await records.append(turns[3])
        for turn in (turns[0], *turns[2:]):
            assert await records.interaction("research", turn.id) == turn
        assert await records.interaction("research", turns[1].id) is None
        report = audit(folder)
        assert (report.records, report.faults) == (3, ())
    finally:
        await records.close()


@pytest.mark.parametrize("reaches_the_server", [True, False])
def test_turn_counts_once_when_the_answer_to_its_commit_is_lost(
    folder: DataFolder,
    open_writer: Open,
    make_turn: MakeTurn,
    tables: Tables,
    monkeypatch: pytest.MonkeyPatch,
    *,
    reaches_the_server: bool,
) -> None:
    """It is in the log by then: the database has it too before the turn is acknowledged."""
    lost = 0

    def lose(projection: Projection) -> None:
        nonlocal lost
        lost += 1
        if reaches_the_server:
            projection.connection.execute("COMMIT")
        projection.connection.close()
        monkeypatch.undo()
        raise psycopg.OperationalError("the connection is lost")

    with closing(open_writer(folder)) as writer:
        monkeypatch.setattr(Projection, "commit", lose)
        for number in range(1, 4):
            writer.commit([Draft.of(make_turn(number))])
            assert len(tables(folder)["interactions"]) == number
    assert lost == 1
    assert (audit(folder).records, audit(folder).faults) == (3, ())
