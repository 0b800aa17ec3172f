import json
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from coe_records.envelope import GENESIS, Damaged, parse, seal
from coe_records.log import BLOCK_BYTES, Log
from coe_records.writer import Draft, Repair
from hypothesis import given, settings
from hypothesis import strategies as st

from coe_core.codec import unstructure
from coe_core.record import Pointer, Settlement
from coe_core.testing.clock import EPOCH
from coe_core.testing.strategies import intents, records

SCHEMA = Path(__file__).parents[3] / "specs/record.schema.json"
VALIDATOR = jsonschema_rs.validator_for(json.loads(SCHEMA.read_text()))
AT = "2026-11-01T09:00:00.000000Z"


def sealed(record: Any, seq: int = 1, prev: str = GENESIS) -> Any:
    draft = Draft.of(record)
    return seal(draft.kind, "w1", seq, AT, prev, draft.text)


pointers = st.builds(
    Pointer,
    segment=st.text(),
    offset=st.integers(0, 1 << 40),
    length=st.integers(1, 1 << 40),
    sha256=st.just(GENESIS),
)
repairs = st.builds(
    Repair,
    at=st.just(EPOCH),
    found=st.lists(st.text()).map(tuple),
    steps=st.lists(st.text()).map(tuple),
) | st.builds(
    Repair,
    at=st.just(EPOCH),
    lost=pointers,
    restored=intents().map(lambda intent: {"settlement": unstructure(Settlement(intent=intent))}),
)
every_record = records() | repairs


@given(record=every_record, seq=st.integers(1, 10**17))
def test_line_is_read_as_it_was_written(record: Any, seq: int) -> None:
    line = sealed(record, seq)
    assert parse(line.raw) == line
    assert line.raw.count(b"\n") == 1


@settings(deadline=None)
@given(record=every_record)
def test_line_satisfies_the_schema(record: Any) -> None:
    VALIDATOR.validate(json.loads(sealed(record).raw))


@given(record=every_record)
def test_schema_misses_no_member(record: Any) -> None:
    """Every member but those of messages and of free values is described, so a new one fails."""
    line = json.loads(sealed(record).raw)
    assert not VALIDATOR.is_valid(line | {"unheard_of": 1})
    assert not VALIDATOR.is_valid(line | {"body": line["body"] | {"unheard_of": 1}})


@given(record=every_record)
def test_head_is_the_line_without_its_body(record: Any) -> None:
    line = sealed(record)
    header = json.loads(line.raw)
    del header["body"]
    compact = json.dumps(header, separators=(",", ":"), ensure_ascii=False)
    assert line.head == sha256(compact.encode()).hexdigest()


@given(record=every_record, data=st.data())
def test_changed_bit_is_noticed(record: Any, data: st.DataObject) -> None:
    """By the line itself in its body, by its head, which the next line knows, elsewhere."""
    line = sealed(record)
    bit = data.draw(st.integers(0, 8 * len(line.raw) - 1))
    raw = bytearray(line.raw)
    raw[bit // 8] ^= 1 << bit % 8
    with suppress(Damaged):
        assert parse(bytes(raw)).head != line.head


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"", "torn"),
        (b'{"kind":"interaction"', "torn"),
        (b"{}\n", "header"),
        (b"<html>}\n", "header"),
    ],
)
def test_what_is_no_line_says_why(raw: bytes, why: str) -> None:
    with pytest.raises(Damaged, match=why):
        parse(raw)


@pytest.mark.parametrize("length", [0, BLOCK_BYTES - 300, 5 * BLOCK_BYTES])
def test_last_line_of_a_segment_is_found_however_long(tmp_path: Path, length: int) -> None:
    long = sealed(Repair(at=EPOCH, steps=("x" * length,))).raw
    (tmp_path / "day").mkdir()
    (tmp_path / "day/interactions.jsonl").write_bytes(long * 2)
    log, segment = Log(tmp_path), "day/interactions.jsonl"
    for end in (len(long), 2 * len(long)):
        found = log.last(segment, end)
        assert found is not None
        assert found.raw == long
    assert log.last(segment, len(long) - 1) is None
