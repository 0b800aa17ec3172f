import json
import random
import shutil
from collections.abc import Callable
from contextlib import closing, suppress
from decimal import Decimal
from hashlib import sha256
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click import Command, Context
from click.testing import CliRunner, Result
from coe_records import manifest
from coe_records import repair as work
from coe_records.audit import audit
from coe_records.bit import LONGEST_BYTES, changed_bit
from coe_records.command import records_command
from coe_records.compaction import Compaction
from coe_records.envelope import parse, seal
from coe_records.exporting import Export
from coe_records.extent import Extent
from coe_records.folder import DataFolder
from coe_records.log import Log
from coe_records.reader import Reader
from coe_records.rebuild import rebuild
from coe_records.repair import Repaired, repair
from coe_records.settings import Settings
from coe_records.writer import Draft, Writer

from coe_core.cli import Frame
from coe_core.clock import SystemClock
from coe_core.identity import AttemptId
from coe_core.ledger import Intent
from coe_core.record import Feedback, Interaction, StateChange
from coe_core.settings import Secret
from coe_core.testing.clock import EPOCH, ManualClock

Open = Callable[..., Writer]
MakeTurn = Callable[..., Interaction]
Tables = Callable[[DataFolder], dict[str, list[Any]]]

SEALED = "2026-11-01/interactions.jsonl"
LAST = "2026-11-01/interactions.w1.1.jsonl"
EXTRA_TURNS = """
    INSERT INTO interactions
    SELECT 'x' || id, 'g', session_id, key_id, started_at, ended_at, requested_model, target,
        router, status, finish_reason, failure, error_code, follows, parent_turn_id, root_id, depth,
        conversation_key, messages, segment, offset_bytes, length_bytes, sha256
    FROM interactions
"""


@pytest.fixture
def written(folder: DataFolder, open_writer: Open, make_turn: MakeTurn) -> list[Interaction]:
    """Write a state change and nine turns into a sealed segment, and three into the next."""
    turns = [make_turn(n, attempts=n % 3) for n in range(12)]
    writer = open_writer(folder, segment_bytes=1000)
    change = StateChange(key="toggles/plugins/x", value=True, actor="me", at=EPOCH)
    writer.commit([Draft.of(change), *map(Draft.of, turns[:9])])
    writer.commit([Draft.of(turn) for turn in turns[9:]])
    writer.close()
    return turns


@pytest.fixture
def turns(folder: DataFolder, written: list[Interaction]) -> list[Interaction]:
    """Lose what Postgres keeps of the lines too: `test_copies` is about it."""
    with closing(folder.tables.connect()) as connection:
        connection.execute("DELETE FROM lines")
    return written


def mend(folder: DataFolder) -> Repaired:
    return repair(folder, SystemClock(), dry_run=False, segment_bytes=1 << 20)


def kinds(folder: DataFolder) -> set[str]:
    return {fault.kind for fault in audit(folder).faults}


def content(folder: DataFolder) -> dict[str, bytes]:
    return {
        path.relative_to(folder.path).as_posix(): path.read_bytes()
        for path in folder.path.rglob("*")
        if path.is_file() and "coe.db" not in path.name
    }


def without_pointers(rows: dict[str, list[Any]]) -> dict[str, list[Any]]:
    return {name: [row[:-4] for row in rows[name]] for name in rows if name != "segments"}


@pytest.mark.usefixtures("written")
def test_whole_log_and_database_are_left_alone(folder: DataFolder) -> None:
    before = content(folder)
    assert mend(folder) == Repaired(found=(), steps=(), left=())
    assert content(folder) == before


@pytest.mark.usefixtures("turns")
@pytest.mark.parametrize("seed", range(3))
def test_changed_bit_of_the_log_is_turned_back(
    folder: DataFolder, tables: Tables, seed: int
) -> None:
    """Wherever it is in the line of a turn, and in the body of any other."""
    chance = random.Random(seed)
    before = tables(folder)
    ends = {segment: (folder.events / segment).stat().st_size for segment in (SEALED, LAST)}
    for _ in range(8):
        segment = chance.choice([SEALED, LAST])
        path = folder.events / segment
        raw = path.read_bytes()
        start = raw.index(b"\n") + 1 if segment == SEALED else 0
        bit = chance.randrange(8 * start, 8 * ends[segment])
        changed = bytearray(raw)
        changed[bit // 8] ^= 1 << bit % 8
        path.write_bytes(changed)
        repaired = mend(folder)
        assert repaired.left == (), f"bit {bit} of {path}"
        assert path.read_bytes()[: len(raw)] == raw
        kept = path.with_name(f"{path.name}.{bit // 8}.damaged")
        assert kept.read_bytes() == changed[bit // 8 : bit // 8 + 1]
    after = tables(folder)
    assert {name: after[name] for name in after if name != "segments"} == {
        name: before[name] for name in before if name != "segments"
    }


@pytest.mark.usefixtures("turns")
def test_changed_bit_of_a_body_without_rows_is_turned_back(folder: DataFolder) -> None:
    path = folder.events / SEALED
    raw = path.read_bytes()
    path.write_bytes(raw.replace(b"toggles", b"togglec", 1))
    assert mend(folder).left == ()
    assert path.read_bytes() == raw


@pytest.mark.usefixtures("turns")
@pytest.mark.parametrize("segment", ["sealed", "last"])
@pytest.mark.parametrize(
    "place", ["{", "state_change", '"seq":', "T0", '"prev":"', '_sha256":"', ',"body"', "}\n"]
)
def test_changed_bit_of_the_header_of_a_line_without_rows_is_turned_back(
    folder: DataFolder, open_writer: Open, tables: Tables, place: str, segment: str
) -> None:
    """The chain knows what it was."""
    if segment == "last":
        writer = open_writer(folder, segment_bytes=100_000)
        change = StateChange(key="toggles/plugins/x", value=True, actor="me", at=EPOCH)
        writer.commit([Draft.of(change)])
        writer.close()
    path = folder.events / (SEALED if segment == "sealed" else LAST)
    before, raw = tables(folder), path.read_bytes()
    start = raw.rindex(b'{"kind":"state_change"')
    at = raw.index(place.encode(), start) + len(place) - 1
    path.write_bytes(raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :])
    assert mend(folder).left == ()
    assert path.read_bytes()[: len(raw)] == raw
    assert without_pointers(tables(folder)) == without_pointers(before)


@pytest.mark.usefixtures("turns")
@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM interactions WHERE id = (SELECT max(id) FROM interactions)",
        "DELETE FROM attempts",
        "UPDATE chat_messages SET content = 'forged' WHERE position = 1",
        "UPDATE interactions SET offset_bytes = offset_bytes + 1",
        "UPDATE interactions SET sha256 = replace(sha256, 'a', 'b')",
        "UPDATE attempts SET segment = 'x' || segment",
        "UPDATE chat_messages SET segment = 'x' || segment WHERE position = 1",
        "UPDATE segments SET head = 'x'",
        "UPDATE segments SET end_bytes = end_bytes + 16384",
        "UPDATE segments SET path = 'x' || path",
        "UPDATE segments SET writer = 'x'",
        EXTRA_TURNS,
    ],
)
def test_tables_are_mended_from_the_log(
    folder: DataFolder, sql: Any, tables: Tables, statement: str
) -> None:
    before = tables(folder)
    sql.execute(statement)
    assert mend(folder).left == ()
    after = tables(folder)
    assert without_pointers(after) == without_pointers(before)
    assert kept_copies(folder)


def kept_copies(folder: DataFolder) -> list[Any]:
    if folder.server is None:
        return list(folder.path.glob("coe.db.*.damaged"))
    with psycopg.connect(folder.server) as connection:
        query = "SELECT 1 FROM pg_tables WHERE schemaname = current_schema() AND tablename LIKE %s"
        return connection.execute(query, ["interactions%damaged"]).fetchall()


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
@pytest.mark.usefixtures("turns")
@pytest.mark.parametrize("column", ["id", "segment", "offset_bytes", "length_bytes", "sha256"])
def test_value_that_a_changed_bit_made_bytes_is_found_and_mended(
    folder: DataFolder, sql: Any, tables: Tables, column: str
) -> None:
    """SQLite notes the type of each value beside it, and one bit tells texts from bytes."""
    before = tables(folder)
    sql.execute(f"UPDATE interactions SET {column} = CAST({column} AS BLOB)")
    assert mend(folder).left == ()
    assert without_pointers(tables(folder)) == without_pointers(before)


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
@pytest.mark.usefixtures("turns")
def test_damaged_name_of_a_column_is_found_and_the_tables_made_again(
    folder: DataFolder, sql: Any, tables: Tables
) -> None:
    """No row differs, but nobody can ask for it."""
    before = tables(folder)
    sql.execute("ALTER TABLE interactions RENAME COLUMN session_id TO sessioo_id")
    sql.close()
    assert kinds(folder) == {"damaged"}
    assert mend(folder).left == ()
    assert without_pointers(tables(folder)) == without_pointers(before)


class TestLostLine:
    @pytest.fixture
    def lose(self, folder: DataFolder, turns: list[Interaction]) -> Callable[[str], None]:
        def lose_(what: str) -> None:
            path = folder.events / LAST
            raw = path.read_bytes()
            match what:
                case "line":
                    at = raw.index(b"answer 10")
                    path.write_bytes(raw[:at] + b"\0" * 9 + raw[at + 9 :])
                case "lines":
                    start, end = raw.index(b"answer 9"), raw.index(b"answer 11")
                    path.write_bytes(raw[:start] + b"\0" * (end - start) + raw[end:])
                case "end":
                    path.write_bytes(raw[: raw.index(b"answer 10")])
                case "segment":
                    path.unlink()

        assert turns
        return lose_

    @pytest.mark.parametrize("what", ["line", "lines", "end", "segment"])
    async def test_is_restored_from_the_database(
        self,
        folder: DataFolder,
        turns: list[Interaction],
        tables: Tables,
        lose: Callable[[str], None],
        what: str,
    ) -> None:
        before = tables(folder)
        lose(what)
        assert "dangling" in kinds(folder)
        assert mend(folder).left == ()
        report = audit(folder)
        assert report.faults == ()
        assert {fault.kind for fault in report.restored} <= {
            *("damaged", "torn", "lost", "broken_chain")
        }
        assert without_pointers(tables(folder)) == without_pointers(before)
        reader = Reader(folder)
        await reader.open()
        for turn in turns:
            found = await reader.interaction(turn.group, turn.id)
            assert found is not None
            assert found.messages == turn.messages
            assert set(found.attempts) == set(turn.attempts)
            assert found.outcome == turn.outcome
        await reader.close()
        exported = list(Export(folder, Extent()).conversations())
        assert len(exported) == len(turns)

    @pytest.mark.parametrize("what", ["line", "lines", "end", "segment"])
    def test_is_in_the_log_from_then_on(
        self, folder: DataFolder, tables: Tables, lose: Callable[[str], None], what: str
    ) -> None:
        lose(what)
        mend(folder)
        before = tables(folder)
        rebuild(folder)
        after = tables(folder)
        assert without_pointers(after) == without_pointers(before)

    def test_gives_way_when_the_segment_comes_back(
        self, folder: DataFolder, tables: Tables, lose: Callable[[str], None], tmp_path: Path
    ) -> None:
        before = tables(folder)
        kept = shutil.copy(folder.events / LAST, tmp_path)
        lose("segment")
        mend(folder)
        shutil.copy(kept, folder.events / LAST)
        rebuild(folder)
        rows = tables(folder)
        for name in ("interactions", "chat_messages", "attempts"):
            assert rows[name] == before[name]

    @pytest.mark.parametrize("what", ["line", "lines", "end", "segment"])
    def test_is_restored_once(
        self, folder: DataFolder, lose: Callable[[str], None], what: str
    ) -> None:
        lose(what)
        mend(folder)
        before = content(folder)
        assert mend(folder) == Repaired(found=(), steps=(), left=())
        assert content(folder) == before

    @pytest.mark.parametrize("what", ["line", "lines", "end", "segment"])
    def test_is_over_for_verify_when_the_chain_goes_on(
        self,
        folder: DataFolder,
        lose: Callable[[str], None],
        open_writer: Open,
        make_turn: MakeTurn,
        what: str,
    ) -> None:
        """Elsewhere, where what is lost was the end of the chain."""
        lose(what)
        writer = open_writer(folder, segment_bytes=1000)
        for number in (20, 21):
            writer.commit([Draft.of(make_turn(number))])
        writer.close()
        assert mend(folder).left == ()
        assert audit(folder).restored != ()

    def test_of_feedback_is_restored(
        self, folder: DataFolder, open_writer: Open, make_turn: MakeTurn, tables: Tables
    ) -> None:
        turn, writer = make_turn(), open_writer(folder)
        said = Feedback(
            id="f1", turn_id=turn.id, group="research", rating=-1, text="아니", actor="me", at=EPOCH
        )
        writer.commit([Draft.of(turn), Draft.of(said)])
        writer.close()
        before = tables(folder)
        path = folder.events / SEALED
        raw = path.read_bytes()
        at = raw.index(b'"id":"f1"')
        path.write_bytes(raw[:at] + b"\0" * 9 + raw[at + 9 :])
        assert mend(folder).left == ()
        assert without_pointers(tables(folder)) == without_pointers(before)

    def test_of_a_settlement_is_restored(
        self, folder: DataFolder, open_writer: Open, crash: Callable[[Writer], None], tables: Tables
    ) -> None:
        writer = open_writer(folder)
        intent = Intent(
            attempt_id=AttemptId("a1"),
            owner_id="job",
            group="research",
            model="small",
            purpose="summary",
            reserved_usd=Decimal("0.25"),
            at=EPOCH,
        )
        writer.intents.add(intent)
        crash(writer)
        open_writer(folder).close()
        before = tables(folder)
        (segment,) = Log(folder.events).segments()
        (folder.events / segment).unlink()
        mend(folder)
        assert without_pointers(tables(folder)) == without_pointers(before)
        assert "dangling" not in kinds(folder)


@pytest.mark.usefixtures("turns")
def test_line_that_nothing_restores_is_named_beside_one_that_is_restored(
    folder: DataFolder,
) -> None:
    """The tables know nothing of a state change."""
    path = folder.events / SEALED
    raw = path.read_bytes().replace(b"toggles", b"\0" * 7).replace(b"answer 5", b"\0" * 8)
    path.write_bytes(raw)
    left, unlike = mend(folder).left
    assert (left.kind, left.where) == ("damaged", f"{SEALED}:0")
    assert unlike.where.endswith(".manifest.json")
    (restored,) = audit(folder).restored
    assert restored.kind == "damaged"
    assert restored.where.startswith(SEALED)


@pytest.mark.usefixtures("written")
def test_dry_run_says_what_it_would_do_and_does_nothing(
    folder: DataFolder, sql: Any, tables: Tables
) -> None:
    path = folder.events / SEALED
    path.write_bytes(path.read_bytes().replace(b"answer 2", b"answer 3"))
    sql.execute("DELETE FROM attempts")
    files, rows, faults = content(folder), tables(folder), audit(folder).faults
    planned = repair(folder, ManualClock(), dry_run=True, segment_bytes=1 << 20)
    assert (planned.found, planned.left) == (faults, faults)
    assert (content(folder), tables(folder)) == (files, rows)
    done = mend(folder)
    assert done.steps[: len(planned.steps)] == planned.steps
    assert (len(done.steps), done.left) == (2, ())


@pytest.mark.usefixtures("turns")
def test_repair_is_recorded(folder: DataFolder, sql: Any) -> None:
    sql.execute("DELETE FROM attempts")
    steps = mend(folder).steps
    log = Log(folder.events)
    lines = [entry.line for path in log.segments() for entry in log.entries(path)]
    (record,) = [line for line in lines if line and line.kind == "repair"]
    assert all(step.encode() in record.body for step in steps)
    assert b"missing attempts:" in record.body


@pytest.mark.usefixtures("turns")
@pytest.mark.parametrize("damage", [b"", b"{", b"altered"])
def test_manifest_is_made_again(folder: DataFolder, damage: bytes) -> None:
    path = folder.events / "2026-11-01/interactions.manifest.json"
    raw = path.read_bytes()
    damaged = raw.replace(b'"records":10', b'"records":11') if damage == b"altered" else damage
    path.write_bytes(damaged)
    assert mend(folder).left == ()
    assert path.read_bytes() == raw
    assert path.with_name(f"{path.name}.damaged").read_bytes() == damaged


@pytest.mark.usefixtures("turns")
def test_tables_are_not_made_from_a_log_that_its_manifest_contradicts(
    folder: DataFolder, tables: Tables
) -> None:
    """Whoever forges a line can forge its checksums; that of the segment is elsewhere."""
    before = tables(folder)
    path = folder.events / SEALED
    *rest, last = path.read_bytes().splitlines(keepends=True)
    line = parse(last)
    body = line.body.replace(b"answer", b"ANSWER")
    path.write_bytes(
        b"".join([*rest, seal(line.kind, "w1", line.seq, line.at, line.prev, body).raw])
    )
    assert mend(folder).left
    assert without_pointers(tables(folder)) == without_pointers(before)


def test_torn_end_is_set_aside(folder: DataFolder, open_writer: Open, make_turn: MakeTurn) -> None:
    writer = open_writer(folder)
    writer.commit([Draft.of(make_turn())])
    writer.close()
    path = folder.events / SEALED
    path.write_bytes(path.read_bytes() + b"{")
    repaired = mend(folder)
    assert ([fault.kind for fault in repaired.found], repaired.left) == (["torn"], ())


@pytest.mark.parametrize("name", ["interactions.aa", "interactions.zz"])
@pytest.mark.parametrize("what", ["segment", "compacted segment", "manifest"])
@pytest.mark.parametrize("is_started", [True, False])
@pytest.mark.usefixtures("written")
def test_copy_of_a_segment_is_set_aside(
    folder: DataFolder, open_writer: Open, tables: Tables, what: str, name: str, *, is_started: bool
) -> None:
    """Whole, whether the server was started meanwhile, which takes a copied segment for torn."""
    if what == "compacted segment":
        Compaction(folder).compact(lambda _: None)
    before, files = tables(folder), content(folder)
    day = (folder.events / SEALED).parent
    for suffix in ("manifest.json", *(["jsonl", "parquet"] if what != "manifest" else [])):
        with suppress(FileNotFoundError):
            shutil.copy(day / f"interactions.{suffix}", day / f"{name}.{suffix}")
    copied = sorted(content(folder)[n] for n in content(folder).keys() - files.keys())
    assert len(copied) == (1 if what == "manifest" else 2)
    if is_started:
        open_writer(folder).close()
    repaired = mend(folder)
    assert [step.partition(",")[2] for step in repaired.steps] == [
        " a copy of another, is set aside"
    ]
    assert repaired.left == ()
    assert mend(folder).found == ()
    after = content(folder)
    assert sorted(after[n] for n in after if n.endswith((".damaged", ".torn"))) == copied
    assert all(after[n] == raw for n, raw in files.items() if SEALED[:-5] in n)
    assert tables(folder)["interactions"] == before["interactions"]


@pytest.mark.usefixtures("turns")
@pytest.mark.parametrize("original", ["damaged", "gone"])
def test_copy_that_says_more_than_its_original_is_not_set_aside(
    folder: DataFolder, original: str
) -> None:
    path = folder.events / SEALED
    for of in (path, manifest.place(folder.events, SEALED)):
        shutil.copy(of, of.with_name(of.name.replace("interactions", "interactions.zz")))
    if original == "damaged":
        path.write_bytes(path.read_bytes().replace(b"toggles", b"\0" * 7))
    else:
        path.unlink()
    planned = repair(folder, SystemClock(), dry_run=True, segment_bytes=1 << 20)
    assert planned.found
    assert not any("set aside" in step for step in planned.steps)


def test_beside_a_living_writer(
    folder: DataFolder, open_writer: Open, make_turn: MakeTurn, sql: Any
) -> None:
    living = open_writer(folder)
    living.commit([Draft.of(make_turn(n)) for n in range(3)])
    path = folder.events / SEALED
    path.write_bytes(path.read_bytes().replace(b"answer 1", b"answer 3"))
    sql.execute("DELETE FROM chat_messages")
    assert mend(folder).left == ()
    living.commit([Draft.of(make_turn(4))])
    living.close()
    assert audit(folder).faults == ()


@pytest.mark.parametrize("size", [1, 64, 65, 300])
def test_changed_bit_is_told(size: int) -> None:
    chance = random.Random(size)
    raw = chance.randbytes(size)
    checksum = sha256(raw).hexdigest()
    for bit in (0, 8 * size - 1, chance.randrange(8 * size)):
        changed = bytearray(raw)
        changed[bit // 8] ^= 1 << bit % 8
        assert changed_bit(bytes(changed), checksum) == bit
    assert changed_bit(raw, "0" * 64) is None
    assert changed_bit(bytes(LONGEST_BYTES + 1), checksum) is None


class Killed(Exception):
    pass


@pytest.mark.usefixtures("turns")
@pytest.mark.parametrize("after", [True, False])
def test_repair_that_was_killed_can_be_done_again(
    folder: DataFolder,
    sql: Any,
    tables: Tables,
    monkeypatch: pytest.MonkeyPatch,
    *,
    after: bool,
) -> None:
    """Killed before, or after, each of its steps in turn, over and over."""
    before = tables(folder)
    last, sealed = folder.events / LAST, folder.events / SEALED
    last.write_bytes(last.read_bytes().replace(b"answer 10", b"\0" * 9))
    whole = sealed.read_bytes()
    sealed.write_bytes(whole.replace(b"answer 3", b"answer 2").replace(b"answer 7", b"answer 6"))
    sql.execute("DELETE FROM attempts WHERE segment = ?", [SEALED])
    done = 0

    def killing(name: str) -> None:
        step = getattr(work, name)

        def killed_step(*arguments: Any) -> None:
            nonlocal done
            if after:
                step(*arguments)
            if left.pop():
                done += 1
                raise Killed
            if not after:
                step(*arguments)

        monkeypatch.setattr(work, name, killed_step)

    for name in ("_turn_back", "_restore", "_rebuild"):
        killing(name)
    for at in range(12):
        left = [*([False] * 40), True, *([False] * (at % 4))]
        with suppress(Killed):
            mend(folder)
    monkeypatch.undo()
    assert done >= 2
    assert mend(folder).left == ()
    assert {fault.kind for fault in audit(folder).restored} == {"damaged"}
    assert sealed.read_bytes() == whole
    assert without_pointers(tables(folder)) == without_pointers(before)


class TestCommand:
    @pytest.mark.usefixtures("turns")
    def test_says_what_it_did_and_what_is_left(self, folder: DataFolder) -> None:
        path = folder.events / LAST
        path.write_bytes(path.read_bytes().replace(b"answer 10", b"\0" * 9))
        planned = self.run(folder, "--dry-run")
        assert planned.exit_code == 1
        assert "restored from the database" in planned.stdout
        result = self.run(folder)
        assert result.exit_code == 0
        assert "restored from the database" in result.stdout
        assert result.stdout.endswith("0 left\n")

    @pytest.mark.usefixtures("turns")
    def test_tells_what_is_left(self, folder: DataFolder) -> None:
        path = folder.events / SEALED
        path.write_bytes(path.read_bytes().replace(b"toggles", b"\0" * 7))
        result = self.run(folder)
        assert result.exit_code == 1
        assert result.stdout.endswith("2 left\n")

    @pytest.mark.usefixtures("written")
    def test_exits_with_0_when_all_is_mended(self, folder: DataFolder, sql: Any) -> None:
        sql.execute("DELETE FROM attempts")
        result = self.run(folder, "--json")
        repaired = json.loads(result.stdout)
        assert (result.exit_code, repaired["left"]) == (0, [])
        assert repaired["steps"] == ["the tables are made again from the log"]
        assert repaired["found"][0]["kind"] == "missing"

    def run(self, folder: DataFolder, *options: str) -> Result:
        server = Secret(f"file:{folder.path}.server") if folder.server else None
        frame = Frame(given_data_dir=folder.path)
        return CliRunner().invoke(
            records_command(Settings(database=server)),
            ["repair", *options],
            parent=Context(Command("coe"), obj=frame),
        )
