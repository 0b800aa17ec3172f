"""A compacted log is read as the log that it was made from, byte for byte."""

import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from coe_records import compacted, compaction, manifest
from coe_records.audit import audit
from coe_records.backup import back_up
from coe_records.compaction import Compaction
from coe_records.exporting import Export
from coe_records.extent import Extent
from coe_records.folder import DataFolder
from coe_records.log import Log
from coe_records.rebuild import rebuild
from coe_records.repair import repair
from coe_records.writer import Draft, Writer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from coe_core.clock import SystemClock
from coe_core.error import RecordDamaged
from coe_core.record import Interaction, Pointer
from coe_core.testing.strategies import texts

MakeTurn = Callable[..., Interaction]
OpenWriter = Callable[..., Writer]


def nothing(_: int) -> None:
    """Tell nobody."""


@pytest.fixture
def small_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compacted, "GROUP_BYTES", 2000)


@pytest.fixture
def pointers(folder: DataFolder, open_writer: OpenWriter, make_turn: MakeTurn) -> list[Pointer]:
    """Write some segments, all sealed but the last."""
    return written(folder, open_writer, make_turn, 30)


def written(
    folder: DataFolder, open_writer: OpenWriter, make_turn: MakeTurn, turns: int, **more: Any
) -> list[Pointer]:
    writer = open_writer(folder, segment_bytes=6000)
    found = [writer.commit([Draft.of(make_turn(n, **more))])[0] for n in range(turns)]
    writer.close()
    return found


def everything(folder: DataFolder) -> Iterator[bytes]:
    log = Log(folder.events)
    for segment in log.segments():
        yield b"".join(entry.raw for entry in log.entries(segment))


@pytest.mark.usefixtures("small_groups")
class TestCompacted:
    def test_every_pointer_reads_the_same_bytes(
        self,
        folder: DataFolder,
        pointers: list[Pointer],
        tables: Any,
        lose_database: Callable[[DataFolder], None],
    ) -> None:
        log, before = Log(folder.events), list(everything(folder))
        raw, sizes = [log.raw(p) for p in pointers], [log.size(s) for s in log.segments()]
        rows, report = tables(folder), audit(folder)
        result = Compaction(folder).compact(nothing)
        assert (result.segments, result.left) == (len(before) - 1, ())
        assert len(list(folder.events.glob("*/*.jsonl"))) == 1
        assert [log.raw(p) for p in pointers] == raw
        assert [log.size(s) for s in log.segments()] == sizes
        assert list(everything(folder)) == before
        assert audit(folder) == report
        assert report.faults == ()
        lose_database(folder)
        rebuild(folder)
        assert tables(folder) == rows

    def test_writers_backups_and_exports_go_on(
        self,
        folder: DataFolder,
        pointers: list[Pointer],
        open_writer: OpenWriter,
        make_turn: MakeTurn,
        tmp_path: Path,
    ) -> None:
        lines = list(Export(folder, Extent()).envelopes())
        Compaction(folder).compact(nothing)
        names = set(Log(folder.events).segments())
        assert list(Export(folder, Extent()).envelopes()) == lines
        more = written(folder, open_writer, make_turn, 9)
        assert not {p.segment for p in more[3:]} & names, "a name was given out twice"
        assert audit(folder).faults == ()
        assert back_up(folder, tmp_path / "copy").faults == ()

    def test_undone_it_is_the_same_file(self, folder: DataFolder, pointers: list[Pointer]) -> None:
        files = {path: path.read_bytes() for path in sorted(folder.events.glob("*/*.jsonl"))}
        Compaction(folder).compact(nothing)
        Compaction(folder).undo(nothing)
        assert {p: p.read_bytes() for p in sorted(folder.events.glob("*/*.jsonl"))} == files
        assert not list(folder.events.glob("*/*.parquet"))

    def test_both_forms_are_one_segment_and_one_goes(
        self, folder: DataFolder, pointers: list[Pointer]
    ) -> None:
        """As a kill between the two leaves it."""
        kept = {path: path.read_bytes() for path in folder.events.glob("*/*.jsonl")}
        Compaction(folder).compact(nothing)
        for path, text in kept.items():
            path.write_bytes(text)
        assert audit(folder).faults == ()
        assert Compaction(folder).compact(nothing).segments == len(kept) - 1
        assert len(list(folder.events.glob("*/*.jsonl"))) == 1

    def test_changed_segment_is_left_as_it_is(
        self, folder: DataFolder, pointers: list[Pointer]
    ) -> None:
        path = folder.events / pointers[0].segment
        path.write_bytes(path.read_bytes().replace(b"answer 0", b"answer 7"))
        result = Compaction(folder).compact(nothing)
        assert [each.partition(":")[0] for each in result.left] == [pointers[0].segment]
        assert path.exists()
        assert not list(folder.events.glob("*/*.new"))

    @pytest.mark.parametrize("left", [b"", b"no Parquet"])
    def test_lost_segment_is_restored_from_the_database(
        self, folder: DataFolder, pointers: list[Pointer], sql: Any, tables: Any, left: bytes
    ) -> None:
        sql.execute("DELETE FROM lines")  # As where only the tables know of them.
        Compaction(folder).compact(nothing)
        before = [row[0] for row in tables(folder)["interactions"]]
        compacted.place(folder.events / pointers[0].segment).write_bytes(left)
        repaired = repair(folder, SystemClock(), dry_run=False, segment_bytes=1 << 20)
        assert repaired.left == ()
        assert [row[0] for row in tables(folder)["interactions"]] == before

    @settings(
        max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
    )
    @given(seed=st.integers(0, 2**32))
    def test_changed_bit_is_noticed_and_no_wrong_byte_read(
        self, folder: DataFolder, pointers: list[Pointer], seed: int
    ) -> None:
        if not list(folder.events.glob("*/*.parquet")):
            Compaction(folder).compact(nothing)
        chance, log = random.Random(seed), Log(folder.events)
        path = chance.choice(sorted(folder.events.glob("*/*.parquet")))
        whole, truth = path.read_bytes(), dict(zip(pointers, map(log.raw, pointers), strict=True))
        footer = 8 + int.from_bytes(whole[-8:-4], "little")  # What the library believes most of.
        bit = chance.randrange(8 * chance.choice([0, len(whole) - footer]), 8 * len(whole))
        changed = bytearray(whole)
        changed[bit // 8] ^= 1 << bit % 8
        path.write_bytes(changed)
        try:
            differs = False
            for pointer, raw in truth.items():
                try:
                    assert log.read(pointer).raw == raw
                except RecordDamaged:
                    differs = True
            assert bool(audit(folder).faults) == differs
        finally:
            path.write_bytes(whole)


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(said=st.lists(texts(), min_size=4, max_size=20), group=st.integers(1, 5000))
def test_any_place_reads_as_in_the_file(
    said: list[str],
    group: int,
    new_folder: Callable[[], DataFolder],
    open_writer: OpenWriter,
    make_turn: MakeTurn,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(compacted, "GROUP_BYTES", group)
    folder = new_folder()
    writer = open_writer(folder, segment_bytes=1500)
    for text in said:
        writer.commit([Draft.of(make_turn(user=text))])
    writer.close()
    log = Log(folder.events)
    files = {s: (folder.events / s).read_bytes() for s in sorted(manifest.sealed(folder.events))}
    Compaction(folder).compact(nothing)
    for segment, text in files.items():
        with log.open(segment) as file:
            for start in range(0, len(text), max(1, len(text) // 7)):
                file.seek(start)
                assert file.readline() == text[start:].splitlines(keepends=True)[0]
                file.seek(start)
                assert file.read(700) == text[start : start + 700]
        assert log.last(segment, len(text)) is not None
        assert [e.raw for e in log.entries(segment)] == text.splitlines(keepends=True)


@pytest.mark.parametrize("kills", [3, pytest.param(60, marks=pytest.mark.faults)])
def test_killed_at_any_moment_it_is_in_one_form_or_the_other(
    folder: DataFolder, open_writer: OpenWriter, make_turn: MakeTurn, kills: int
) -> None:
    places = written(folder, open_writer, make_turn, 80 + 20 * kills)
    log, chance = Log(folder.events), random.Random(20261122)
    truth = [log.raw(pointer) for pointer in places]
    code = "import sys, pathlib; from coe_records.compaction import Compaction; "
    code += "from coe_records.folder import DataFolder; "
    code += "tell = lambda _: sys.stdin.buffer.read(1); "
    code += "Compaction(DataFolder(pathlib.Path(sys.argv[1]))).compact(tell)"
    for _ in range(kills):
        before = len(list(folder.events.glob("*/*.parquet")))
        command = [sys.executable, "-c", code, str(folder.path)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE)
        assert process.stdin
        # It may do four segments, however late we come to kill it, so that some are left.
        process.stdin.write(b"." * (before + 3))
        process.stdin.flush()
        while process.poll() is None and len(list(folder.events.glob("*/*.parquet"))) == before:
            time.sleep(0.001)
        time.sleep(chance.random() * 0.01)  # Not for anything: the moment is the point.
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdin.close()
        assert [log.raw(pointer) for pointer in places] == truth
        assert audit(folder).faults == ()
    assert list(folder.events.glob("*/*.jsonl"))[1:], "it was never killed in the middle"
    assert Compaction(folder).compact(nothing).left == ()
    assert [log.raw(pointer) for pointer in places] == truth


def test_compaction_without_the_library_says_what_to_install(
    folder: DataFolder, pointers: list[Pointer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(compacted.StartRefused, match=r"coe-records\[parquet\]"):
        compaction.Compaction(folder).compact(nothing)
