"""A backup is a whole data folder of one moment; restored, it goes on."""

import resource
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from coe_records.audit import audit
from coe_records.backup import back_up, restore
from coe_records.folder import DataFolder
from coe_records.writer import Draft, Writer

from coe_core.error import Conflict, StartRefused
from coe_core.record import Interaction
from coe_core.state import SqliteStateStore

Run = Callable[..., Result]
Open = Callable[..., Writer]
MakeTurn = Callable[..., Interaction]
Tables = Callable[[DataFolder], dict[str, list[Any]]]


@pytest.fixture
async def kept(folder: DataFolder, open_writer: Open, make_turn: MakeTurn) -> DataFolder:
    """Write turns in several segments, and some state."""
    writer = open_writer(folder, segment_bytes=3000)
    for n in range(6):
        writer.commit([Draft.of(make_turn(n))])
    writer.close()
    state = SqliteStateStore(folder.path / "state.sqlite")
    await state.open()
    await state.put("toggles/plugins/x", False)
    await state.close()
    with sqlite3.connect(folder.path / "plugins.db") as owned:
        owned.execute("CREATE TABLE knowledge_documents (id)")
    owned.close()
    (folder.path / "pepper").write_text("secret")
    return folder


async def test_comes_back_as_it_was(
    kept: DataFolder, tmp_path: Path, tables: Tables, coe_records: Run
) -> None:
    saved, new = tmp_path / "saved", DataFolder(tmp_path / "new")
    assert coe_records(kept, "backup", str(saved)).exit_code == 0
    result = coe_records(new, "restore", str(saved))
    assert (result.exit_code, result.stdout.split(",")[0]) == (0, "6 records")
    assert tables(new) == tables(kept)
    assert new.known_writers == kept.known_writers
    assert audit(new).faults == ()
    state = SqliteStateStore(new.path / "state.sqlite")
    assert state.peek("toggles/") == {"toggles/plugins/x": False}
    with sqlite3.connect(new.path / "plugins.db") as owned:
        assert owned.execute("SELECT * FROM knowledge_documents").fetchall() == []
    owned.close()
    assert not (new.path / "pepper").exists()


def test_restored_goes_on(
    kept: DataFolder, tmp_path: Path, open_writer: Open, make_turn: MakeTurn
) -> None:
    back_up(kept, tmp_path / "saved")
    new = DataFolder(tmp_path / "new")
    restore(tmp_path / "saved", new)
    writer = open_writer(new)
    writer.commit([Draft.of(make_turn(9))])
    writer.close()
    report = audit(new)
    assert (report.records, report.faults) == (7, ())


def test_is_of_one_moment_while_turns_are_written(
    kept: DataFolder, tmp_path: Path, open_writer: Open, make_turn: MakeTurn
) -> None:
    writer, done = open_writer(kept, segment_bytes=20_000), threading.Event()

    def write() -> None:
        while not done.is_set():
            writer.commit([Draft.of(make_turn(n)) for n in range(3)])

    thread = threading.Thread(target=write)
    thread.start()
    try:
        copies = [back_up(kept, tmp_path / f"{n}") for n in range(5)]
    finally:
        done.set()
        thread.join()
        writer.close()
    assert [copy.faults for copy in copies] == [()] * 5
    assert copies[0].records < copies[-1].records


def test_has_nothing_that_is_being_made(kept: DataFolder, tmp_path: Path) -> None:
    """A manifest has its name at the next moment, and is not there to be copied."""
    (kept.events / "2026-11-01/interactions.w1.9.manifest.json.new").write_text("{")
    assert back_up(kept, tmp_path / "saved").faults == ()
    assert not list((tmp_path / "saved").rglob("*.new"))


def test_overwrites_nothing(kept: DataFolder, tmp_path: Path) -> None:
    back_up(kept, tmp_path / "saved")
    with pytest.raises(Conflict, match="not empty"):
        back_up(kept, tmp_path / "saved")
    with pytest.raises(Conflict, match="not empty"):
        restore(tmp_path / "saved", kept)


def test_is_not_made_within_the_log(kept: DataFolder) -> None:
    with pytest.raises(Conflict, match="within the log"):
        back_up(kept, kept.events / "saved")
    assert not (kept.events / "saved").exists()


@pytest.mark.parametrize("command", ["backup", "restore"])
def test_that_cannot_be_written_is_not_laid_to_the_records(
    kept: DataFolder, tmp_path: Path, command: str, coe_records: Run
) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.touch()
    if command == "backup":
        result = coe_records(kept, "backup", str(in_the_way / "saved"))
    else:
        back_up(kept, tmp_path / "saved")
        result = coe_records(DataFolder(in_the_way), "restore", str(tmp_path / "saved"))
    assert isinstance(result.exception, StartRefused)
    assert "is not whole" in str(result.exception)
    assert "rebuild" not in str(result.exception)


def test_that_found_no_room_is_not_laid_to_the_records(
    kept: DataFolder, tmp_path: Path, coe_records: Run
) -> None:
    before, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
    try:
        result = coe_records(kept, "backup", str(tmp_path / "saved"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (before, hard))
    assert isinstance(result.exception, StartRefused)
    assert "is not whole" in str(result.exception)
    assert "rebuild" not in str(result.exception)


def test_of_what_is_no_backup_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Conflict, match="no backup"):
        restore(tmp_path, DataFolder(tmp_path / "new"))
    assert list(tmp_path.iterdir()) == []


def test_altered_backup_is_told(kept: DataFolder, tmp_path: Path, coe_records: Run) -> None:
    back_up(kept, tmp_path / "saved")
    segment = next((tmp_path / "saved").glob("events/*/interactions.jsonl"))
    segment.write_bytes(segment.read_bytes().replace(b"answer 0", b"answer 7"))
    result = coe_records(DataFolder(tmp_path / "new"), "restore", str(tmp_path / "saved"))
    assert result.exit_code == 1
    assert "damaged" in result.stdout
