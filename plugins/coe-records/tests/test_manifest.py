import json
import random
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from coe_records import manifest
from coe_records.audit import audit
from coe_records.folder import DataFolder
from coe_records.writer import Draft, Writer

from coe_core.record import Interaction
from coe_core.testing.clock import EPOCH, ManualClock

Lose = Callable[[DataFolder], None]
Open = Callable[..., Writer]
MakeTurn = Callable[..., Interaction]

FIRST = "2026-11-01/interactions.jsonl"
SECOND = "2026-11-01/interactions.w1.1.jsonl"
THIRD = "2026-11-02/interactions.jsonl"


@pytest.fixture
def turns(folder: DataFolder, open_writer: Open, make_turn: MakeTurn) -> list[Interaction]:
    """Write two groups that fill a segment each, and one on the next day."""
    turns = [make_turn(n) for n in range(6)]
    clock = ManualClock()
    for day in (1, 1, 2):  # Sealing goes on where it was left, in another process as well.
        clock._now = EPOCH.replace(day=day)
        writer = open_writer(folder, clock=clock, segment_bytes=1000)
        at = 2 * len(list(folder.events.glob("*/*.jsonl")))
        writer.commit([Draft.of(turn) for turn in turns[at : at + 2]])
        writer.close()
    return turns


def where(folder: DataFolder, segment: str) -> Path:
    return manifest.place(folder.events, segment)


def faults(folder: DataFolder) -> list[tuple[str, str]]:
    return [(fault.kind, fault.where) for fault in audit(folder).faults]


def test_segments_that_were_left_are_sealed(folder: DataFolder, turns: list[Interaction]) -> None:
    assert manifest.sealed(folder.events) == {FIRST, SECOND}
    first, second = (manifest.read(folder.events, path) for path in (FIRST, SECOND))
    assert (first.previous, first.previous_sha256) == (None, None)
    assert (second.previous, second.previous_sha256) == (FIRST, first.sha256)
    assert (second.records, second.first_seq, second.last_seq) == (2, 3, 4)
    assert [second.first_id, second.last_id] == sorted(turn.id for turn in turns[2:4])
    raw = (folder.events / SECOND).read_bytes()
    assert (second.size_bytes, second.sha256) == (len(raw), sha256(raw).hexdigest())
    assert faults(folder) == []


@pytest.mark.usefixtures("turns")
def test_sealing_again_changes_nothing(folder: DataFolder, open_writer: Open) -> None:
    before = {path: where(folder, path).stat().st_ino for path in (FIRST, SECOND)}
    open_writer(folder).close()
    assert {path: where(folder, path).stat().st_ino for path in (FIRST, SECOND)} == before


@pytest.mark.usefixtures("turns")
def test_lost_manifest_is_made_again(folder: DataFolder, open_writer: Open) -> None:
    paths = [where(folder, path) for path in (FIRST, SECOND)]
    before = [path.read_bytes() for path in paths]
    for path in paths:
        path.unlink()
    paths[0].with_name(f"{paths[0].name}.new").write_text("torn off by a crash")
    open_writer(folder).close()
    assert [path.read_bytes() for path in paths] == before
    assert list(folder.events.glob("*/*.new")) == []


@pytest.mark.usefixtures("turns")
def test_every_changed_bit_of_a_manifest_is_found(folder: DataFolder) -> None:
    chance = random.Random(20261122)
    path = where(folder, SECOND)
    raw = path.read_bytes()
    for _ in range(50):
        bit = chance.randrange(8 * len(raw))
        changed = bytearray(raw)
        changed[bit // 8] ^= 1 << bit % 8
        path.write_bytes(changed)
        assert faults(folder), f"bit {bit}"


@pytest.mark.usefixtures("turns")
@pytest.mark.parametrize(("member", "value"), [("records", 3), ("previous_sha256", "0" * 64)])
def test_manifest_that_does_not_fit_is_found(
    folder: DataFolder, member: str, value: object
) -> None:
    path = where(folder, SECOND)
    changed = json.loads(path.read_bytes()) | {member: value}
    path.write_text(json.dumps(changed, separators=(",", ":")) + "\n")
    assert faults(folder) == [("altered", "2026-11-01/interactions.w1.1.manifest.json")]


@pytest.mark.usefixtures("turns")
@pytest.mark.parametrize("is_known", [True, False])
def test_sealed_segment_that_is_gone_is_found(
    folder: DataFolder, *, is_known: bool, lose_database: Lose
) -> None:
    (folder.events / THIRD).unlink()
    (folder.events / SECOND).unlink()
    if not is_known:
        lose_database(folder)
        Writer.open(folder, ManualClock(), segment_bytes=1000).close()
    assert ("lost", SECOND) in faults(folder)


@pytest.mark.usefixtures("turns")
@pytest.mark.parametrize("damage", [b"\0" * 512, b"torn"])
def test_recovery_takes_nothing_from_a_sealed_segment(
    folder: DataFolder,
    open_writer: Open,
    tables: Callable[[DataFolder], Any],
    damage: bytes,
    lose_database: Lose,
) -> None:
    """The same damage at the end of an unsealed one is what a crash leaves, and set aside."""
    path = folder.events / SECOND
    raw = path.read_bytes()
    at = raw.index(b"\n") - len(damage)
    damaged = raw[:at] + damage + raw[at + len(damage) :]
    path.write_bytes(damaged)
    lose_database(folder)
    open_writer(folder).close()
    assert path.read_bytes() == damaged
    assert len(tables(folder)["interactions"]) == 5
    assert {"damaged", "altered"} <= {kind for kind, _ in faults(folder)}
