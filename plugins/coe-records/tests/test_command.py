import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from coe_records.check import RecordsCheck
from coe_records.folder import DataFolder
from coe_records.log import Log
from coe_records.writer import Draft, Writer

from coe_core.error import StartRefused
from coe_core.record import Interaction, StateChange
from coe_core.settings import Secret
from coe_core.testing.clock import ManualClock

Lose = Callable[[DataFolder], None]
SecretOf = Callable[[DataFolder], Secret | None]
Run = Callable[..., Result]
MakeTurn = Callable[..., Interaction]


@pytest.fixture
def segment(folder: DataFolder, open_writer: Callable[..., Writer], make_turn: MakeTurn) -> Path:
    """Write three turns; return their segment."""
    writer = open_writer(folder)
    pointers = writer.commit([Draft.of(make_turn(n)) for n in range(3)])
    writer.close()
    return folder.events / pointers[0].segment


@pytest.mark.usefixtures("segment")
class TestVerify:
    def test_says_that_all_is_well(self, folder: DataFolder, coe_records: Run) -> None:
        result = coe_records(folder, "verify")
        assert (result.exit_code, result.stdout) == (0, "3 records in 1 segments, 0 faults\n")

    def test_names_each_fault_and_exits_with_1(
        self, folder: DataFolder, segment: Path, coe_records: Run
    ) -> None:
        segment.write_bytes(segment.read_bytes().replace(b"answer 1", b"answer 7"))
        result = coe_records(folder, "verify")
        assert result.exit_code == 1
        assert "damaged" in result.stdout
        assert "dangling" in result.stdout
        assert f"{segment.parent.name}/{segment.name}:" in result.stdout

    def test_prints_json(self, folder: DataFolder, segment: Path, coe_records: Run) -> None:
        segment.write_bytes(segment.read_bytes() + b"{")
        result = coe_records(folder, "verify", "--json")
        report = json.loads(result.stdout)
        assert (result.exit_code, report["records"]) == (1, 3)
        (fault,) = report["faults"]
        assert fault["kind"] == "torn"
        assert fault["where"].endswith(f"interactions.jsonl:{segment.stat().st_size - 1}")


class TestRebuild:
    @pytest.mark.usefixtures("segment")
    def test_makes_a_lost_database_again(
        self,
        folder: DataFolder,
        tables: Callable[[DataFolder], Any],
        lose_database: Lose,
        coe_records: Run,
    ) -> None:
        before = tables(folder)
        lose_database(folder)
        assert coe_records(folder, "rebuild").stdout == "3 records of 1 segments\n"
        assert tables(folder) == before

    @pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
    def test_exits_with_1_when_it_passes_over_damage(
        self, folder: DataFolder, segment: Path, coe_records: Run
    ) -> None:
        segment.write_bytes(segment.read_bytes().replace(b"answer 1", b"answer 7"))
        folder.database.write_text("no database")
        result = coe_records(folder, "rebuild", "--json")
        rebuilt = json.loads(result.stdout)
        assert result.exit_code == 1
        assert (rebuilt["records"], rebuilt["passed_over"]) == (2, 1)
        assert Path(rebuilt["set_aside"]).read_text() == "no database"


class TestLog:
    """Two processes wrote in turns, over two days."""

    @pytest.fixture
    async def segments(
        self, folder: DataFolder, open_writer: Callable[..., Writer], make_turn: MakeTurn
    ) -> list[Path]:
        clock = ManualClock()
        writers = [open_writer(folder, clock=clock) for _ in range(2)]
        for number in range(12):
            await clock.advance(2.5 * 3600)
            change = StateChange(key=f"k{number}", value=None, actor="me", at=clock.now())
            record = change if number % 3 == 0 else make_turn(number)
            writers[number % 2].commit([Draft.of(record)])
        for writer in writers:
            writer.close()
        return [folder.events / path for path in Log(folder.events).segments()]

    def test_is_printed_in_the_order_of_time(
        self, folder: DataFolder, segments: list[Path], coe_records: Run
    ) -> None:
        printed = coe_records(folder, "log").stdout_bytes
        lines = [line for path in segments for line in path.read_bytes().splitlines()]
        assert sorted(printed.splitlines()) == sorted(lines)
        times = [json.loads(line)["at"] for line in printed.splitlines()]
        assert (len(segments), times) == (4, sorted(times))

    @pytest.mark.usefixtures("segments")
    @pytest.mark.parametrize(
        ("options", "expected"),
        [
            (["--kind", "state_change"], 4),
            (["--kind", "state_change", "--kind", "interaction"], 12),
            (["--kind", "feedback"], 0),
            (["--since", "2026-11-02"], 7),
            (["--until", "2026-11-02"], 5),
            (["--since", "2026-11-01T14:00:00", "--until", "2026-11-02T00:30:00+00:00"], 5),
            (["--since", "2026-11-02T09:00:00+09:00"], 7),
            (["--since", "2026-11-02T00:00:00.000000Z"], 7),
        ],
    )
    def test_is_chosen_from(
        self, folder: DataFolder, options: list[str], expected: int, coe_records: Run
    ) -> None:
        assert len(coe_records(folder, "log", *options).stdout.splitlines()) == expected

    def test_damage_is_passed_over_and_told(
        self, folder: DataFolder, segments: list[Path], coe_records: Run
    ) -> None:
        tear(segments[0])
        result = coe_records(folder, "log")
        assert (result.exit_code, len(result.stdout.splitlines())) == (1, 12)
        assert result.stderr.startswith("1 damaged")


def test_time_that_is_none_in_utc_is_refused(folder: DataFolder, coe_records: Run) -> None:
    result = coe_records(folder, "log", "--until", "9999-12-31T23:00:00-09:00")
    assert result.exit_code == 2
    assert "--until" in result.stderr


@pytest.mark.parametrize("command", ["verify", "rebuild", "log"])
def test_folder_without_a_log_is_refused(tmp_path: Path, command: str, coe_records: Run) -> None:
    result = coe_records(DataFolder(tmp_path), command)
    assert isinstance(result.exception, StartRefused)
    assert "--data" in str(result.exception)
    assert list(tmp_path.iterdir()) == []


def make_no_database(folder: DataFolder) -> None:
    folder.database.write_bytes(b"no database" * 1000)


def tear(segment: Path) -> None:
    segment.write_bytes(segment.read_bytes() + b"{")


class TestCheck:
    async def test_of_a_new_folder_is_content(self, tmp_path: Path) -> None:
        assert (await RecordsCheck(tmp_path).check()).ok

    @pytest.mark.usefixtures("segment")
    async def test_of_a_whole_log_is_content(self, folder: DataFolder, secret: SecretOf) -> None:
        finding = await RecordsCheck(folder.path, secret(folder)).check()
        assert finding.ok, finding

    async def test_finds_that_the_log_reaches_farther(
        self, folder: DataFolder, segment: Path, secret: SecretOf
    ) -> None:
        tear(segment)
        finding = await RecordsCheck(folder.path, secret(folder)).check()
        assert not finding.ok
        assert segment.name in finding.text

    async def test_is_content_again_once_what_is_lost_is_restored(
        self, folder: DataFolder, segment: Path, secret: SecretOf, coe_records: Run
    ) -> None:
        os.truncate(segment, 1000)
        assert not (await RecordsCheck(folder.path, secret(folder)).check()).ok
        assert coe_records(folder, "repair").exit_code == 0
        assert (await RecordsCheck(folder.path, secret(folder)).check()).ok

    @pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
    @pytest.mark.usefixtures("segment")
    async def test_finds_a_file_that_is_no_database(
        self, folder: DataFolder, secret: SecretOf
    ) -> None:
        make_no_database(folder)
        finding = await RecordsCheck(folder.path, secret(folder)).check()
        assert not finding.ok
        assert "rebuild" in finding.mend

    @pytest.mark.usefixtures("segment")
    async def test_finds_a_lost_database(
        self,
        folder: DataFolder,
        lose_database: Lose,
        secret: SecretOf,
    ) -> None:
        lose_database(folder)
        assert not (await RecordsCheck(folder.path, secret(folder)).check()).ok
