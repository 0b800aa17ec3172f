import random
import sqlite3
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest
from coe_records.audit import audit
from coe_records.envelope import parse, seal
from coe_records.folder import DataFolder
from coe_records.rebuild import rebuild
from coe_records.writer import Draft, Writer

from coe_core.error import Conflict
from coe_core.record import Interaction, StateChange
from coe_core.testing.clock import EPOCH, ManualClock

Lose = Callable[[DataFolder], None]
Open = Callable[..., Writer]
MakeTurn = Callable[..., Interaction]
Tables = Callable[[DataFolder], dict[str, list[Any]]]

SEGMENT = "2026-11-01/interactions.jsonl"

EXTRA_ATTEMPT = """
    INSERT INTO attempts
    SELECT 'nobody', id, group_name, purpose, model, provider, name, started_at, duration_s,
        first_token_s, 0, 0, 0, 0, false, cost_usd, price_version, overspent_usd, outcome,
        error_code, continues, segment, offset_bytes, length_bytes, sha256
    FROM attempts LIMIT 1
"""
DANGLING_MESSAGE = """
    INSERT INTO chat_messages
    SELECT 'nobody', 0, group_name, part, choice, true, role, content, message, segment, 7,
        length_bytes, sha256
    FROM chat_messages LIMIT 1
"""


@pytest.fixture
def written(folder: DataFolder, open_writer: Open, make_turn: MakeTurn) -> list[Interaction]:
    """Have two processes write turns of two days, and some in more segments."""
    turns = [make_turn(n, attempts=n % 3) for n in range(24)]
    clock = ManualClock()
    first = open_writer(folder, clock=clock, segment_bytes=4000)
    second = open_writer(folder, clock=clock)
    change = StateChange(key="toggles/plugins/x", value=True, actor="me", at=EPOCH)
    first.commit([Draft.of(change), *map(Draft.of, turns[:4])])
    second.commit([Draft.of(turn) for turn in turns[4:8]])
    first.commit([Draft.of(turn) for turn in turns[8:12]])
    clock._now = EPOCH.replace(day=2)
    for at in range(12, 24, 3):
        second.commit([Draft.of(turn) for turn in turns[at : at + 3]])
    first.close()
    second.close()
    return turns


def kinds(folder: DataFolder) -> set[str]:
    return {fault.kind for fault in audit(folder).faults}


@pytest.mark.usefixtures("written")
def test_whole_log_and_database_have_no_faults(folder: DataFolder) -> None:
    report = audit(folder)
    assert (report.records, report.segments, report.faults) == (25, 4, ())


@pytest.mark.usefixtures("written")
@pytest.mark.parametrize("work", [audit, rebuild])
def test_every_byte_is_told_of(
    folder: DataFolder, work: Callable[[DataFolder, Callable[[int], None]], object]
) -> None:
    told: list[int] = []
    work(folder, told.append)
    assert sum(told) == folder.log_bytes > 0


@pytest.mark.usefixtures("written")
@pytest.mark.parametrize(
    ("statement", "kind"),
    [
        ("DELETE FROM interactions WHERE id = (SELECT max(id) FROM interactions)", "missing"),
        ("DELETE FROM chat_messages WHERE position = 1", "missing"),
        ("DELETE FROM attempts", "missing"),
        ("UPDATE chat_messages SET content = 'forged' WHERE position = 1", "altered"),
        ("UPDATE interactions SET group_name = 'support'", "altered"),
        ("UPDATE attempts SET cost_usd = '0'", "altered"),
        ("UPDATE interactions SET offset_bytes = offset_bytes + 1", "altered"),
        ("UPDATE interactions SET length_bytes = length_bytes + 1125899906842624", "altered"),
        ("UPDATE segments SET end_bytes = end_bytes - 1", "altered"),
        ("UPDATE segments SET head = 'x'", "altered"),
        ("INSERT INTO segments SELECT 'x', writer, 1, 1, 1, head FROM segments LIMIT 1", "lost"),
        (EXTRA_ATTEMPT, "extra"),
        (DANGLING_MESSAGE, "dangling"),
    ],
)
def test_change_of_the_database_is_found(
    folder: DataFolder, sql: Any, statement: str, kind: str
) -> None:
    assert sql.execute(statement).rowcount > 0
    assert kind in kinds(folder)


@pytest.mark.usefixtures("written")
@pytest.mark.parametrize("what", ["line", "segment", "last line", "order", "forged"])
def test_change_of_the_log_is_found(folder: DataFolder, what: str) -> None:
    path = folder.events / SEGMENT
    lines = path.read_bytes().splitlines(keepends=True)
    match what:
        case "line":
            path.write_bytes(b"".join(lines[:2] + lines[3:]))
            expected = {"broken_chain", "lost", "dangling"}
        case "segment":
            path.unlink()
            expected = {"broken_chain", "lost", "dangling"}
        case "last line":
            path.write_bytes(b"".join(lines[:-1]))
            expected = {"broken_chain", "lost", "dangling"}
        case "order":
            path.write_bytes(b"".join([*lines[:2], lines[3], lines[2], *lines[4:]]))
            expected = {"broken_chain", "altered"}
        case "forged":
            line = parse(lines[2])
            body = line.body.replace(b"answer", b"ANSWER")
            forged = seal(line.kind, line.writer, line.seq, line.at, line.prev, body)
            path.write_bytes(b"".join([*lines[:2], forged.raw, *lines[3:]]))
            expected = {"broken_chain", "altered"}
    assert expected <= kinds(folder)


@pytest.mark.usefixtures("written")
@pytest.mark.parametrize("seed", range(4))
def test_every_changed_bit_of_the_log_is_found(folder: DataFolder, seed: int) -> None:
    chance = random.Random(seed)
    paths = sorted(folder.events.glob("*/interactions*.jsonl"))
    for _ in range(25):
        path = chance.choice(paths)
        raw = path.read_bytes()
        bit = chance.randrange(8 * len(raw))
        changed = bytearray(raw)
        changed[bit // 8] ^= 1 << bit % 8
        path.write_bytes(changed)
        assert audit(folder).faults, f"bit {bit} of {path}"
        path.write_bytes(raw)


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
@pytest.mark.parametrize("seed", range(4))
def test_changed_bit_of_the_database_is_found_or_changes_nothing(
    folder: DataFolder, written: list[Interaction], tables: Tables, seed: int
) -> None:
    connection = sqlite3.connect(folder.database, isolation_level=None)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    before, raw = tables(folder), folder.database.read_bytes()
    chance = random.Random(seed)
    for _ in range(40):
        bit = chance.randrange(8 * 4096, 8 * len(raw))
        changed = bytearray(raw)
        changed[bit // 8] ^= 1 << bit % 8
        folder.database.write_bytes(changed)
        try:
            unchanged = tables(folder) == before
        except sqlite3.DatabaseError:
            unchanged = False
        assert unchanged or finds_something(folder), f"bit {bit}"
    assert written


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
@pytest.mark.usefixtures("written")
def test_index_that_hides_a_row_is_found(folder: DataFolder) -> None:
    """No row differs, but a session's newest turn is not found any more."""
    connection = sqlite3.connect(folder.database, isolation_level=None)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    raw = folder.database.read_bytes()
    assert raw.count(b"s1research2026") == 24  # As the index on sessions has it.
    folder.database.write_bytes(raw.replace(b"s1research2026", b"s9research2026", 1))
    assert kinds(folder) == {"damaged"}


def finds_something(folder: DataFolder) -> bool:
    try:
        return bool(audit(folder).faults)
    except sqlite3.DatabaseError:
        return True


@pytest.mark.usefixtures("written")
@pytest.mark.parametrize("database", ["kept", "emptied", "lost"])
def test_rebuilt_tables_equal_the_original(
    folder: DataFolder, tables: Tables, database: str, lose_database: Lose
) -> None:
    before = tables(folder)
    match database:
        case "emptied":
            with closing(folder.tables.connect()) as connection:
                for name in before:
                    connection.execute(f"DELETE FROM {name}")
        case "lost":
            lose_database(folder)
    rebuilt = rebuild(folder)
    assert (rebuilt.records, rebuilt.passed_over) == (25, 0)
    assert tables(folder) == before
    assert audit(folder).faults == ()
    assert rebuilt.set_aside is None


@pytest.mark.usefixtures("written")
def test_rebuild_does_not_forget_what_only_the_database_knows(
    folder: DataFolder, tables: Tables
) -> None:
    before = tables(folder)
    path = folder.events / SEGMENT
    path.write_bytes(path.read_bytes().replace(b"answer 2", b"answer X"))
    with pytest.raises(Conflict, match="1 turns"):
        rebuild(folder)
    assert tables(folder) == before


def test_rebuild_beside_a_living_writer(
    folder: DataFolder, open_writer: Open, make_turn: MakeTurn, tables: Tables
) -> None:
    writer = open_writer(folder)
    for number in range(3):
        writer.commit([Draft.of(make_turn(number))])
        before = tables(folder)
        rebuild(folder)
        assert tables(folder) == before
    writer.close()
    assert audit(folder).faults == ()


def test_turn_that_is_in_the_log_twice_counts_once(
    folder: DataFolder, open_writer: Open, make_turn: MakeTurn, tables: Tables
) -> None:
    """A writer that cannot see the database of another machine may write a turn again. Which of
    the lines counts is decided by the lines alone, not by who reads which first.
    """
    clock = ManualClock()
    turns = [make_turn(n) for n in range(3)]
    second = open_writer(folder, clock=clock)
    second.commit([Draft.of(turn) for turn in turns[:1]])
    clock._now = EPOCH.replace(hour=8)
    line = Draft.of(turns[0])
    earlier = seal("interaction", "w7", 1, "2026-11-01T08:00:00.000000Z", "0" * 64, line.text)
    path = folder.events / "2026-11-01/interactions.w7.1.jsonl"
    path.write_bytes(earlier.raw)
    (folder.writers / "w7").mkdir()
    second.close()
    open_writer(folder).close()
    assert {row[-4] for row in tables(folder)["chat_messages"]} == {
        "2026-11-01/interactions.w7.1.jsonl"
    }
    assert (audit(folder).records, audit(folder).faults) == (2, ())
    before = tables(folder)
    rebuild(folder)
    assert tables(folder) == before
