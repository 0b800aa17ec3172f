"""Keys as values: their look, their digests, their times."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from attrs import evolve
from coe_keys.key import Key, digest_of, id_of, make_id, make_plain, moment, span
from hypothesis import given
from hypothesis import strategies as st

from coe_core.codec import decode, encode, structure
from coe_core.error import InvalidField

NOW = datetime(2026, 11, 1, 9, 0, tzinfo=UTC)
PEPPER = b"a pepper of this test"


def key(**changes: Any) -> Key:
    made = Key(id="0" * 12, digest="d" * 64, pepper="p", group="팀", role="member", created_at=NOW)
    return evolve(made, **changes)


def test_a_key_carries_its_id() -> None:
    key_id = make_id()
    plain = make_plain(key_id)
    assert plain.startswith(f"coe_{key_id}_")
    assert id_of(plain) == key_id


@given(st.text())
def test_what_is_no_whole_key_has_no_id(text: str) -> None:
    assert id_of(text) is None


def test_a_key_cut_short_or_lengthened_has_no_id() -> None:
    plain = make_plain(make_id())
    assert id_of(plain[:-1]) is None
    assert id_of(f"{plain}0") is None
    assert id_of(f"{plain}\n") is None


def test_digests_differ_with_the_key_and_with_the_pepper() -> None:
    one, other = make_plain("0" * 12), make_plain("0" * 12)
    assert digest_of(one, PEPPER) == digest_of(one, PEPPER)
    assert digest_of(one, PEPPER) != digest_of(other, PEPPER)
    assert digest_of(one, PEPPER) != digest_of(one, b"another pepper")


def test_a_key_is_good_until_its_end_and_not_at_it() -> None:
    ending = key(expires_at=NOW + timedelta(days=1))
    assert ending.standing(NOW) == "active"
    assert ending.standing(NOW + timedelta(days=1)) == "expired"
    assert evolve(ending, revoked_at=NOW).standing(NOW) == "revoked"
    assert key().standing(NOW + timedelta(days=9999)) == "active"


def test_a_former_digest_fits_until_its_grace_ends() -> None:
    rotated = key(former_digest="f" * 64, former_until=NOW + timedelta(hours=1))
    assert rotated.fits("f" * 64, NOW)
    assert rotated.fits("d" * 64, NOW)
    assert not rotated.fits("f" * 64, NOW + timedelta(hours=1))
    assert not rotated.fits("e" * 64, NOW)


def test_a_stored_key_reads_back() -> None:
    kept = key(user="김", name="노트북", expires_at=NOW, former_digest="f", former_until=NOW)
    assert structure(decode(encode(kept)), Key) == kept


def test_nothing_secret_is_in_its_repr() -> None:
    assert "ddd" not in repr(key(former_digest="d" * 64))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90d", NOW + timedelta(days=90)),
        ("12h", NOW + timedelta(hours=12)),
        ("2w", NOW + timedelta(weeks=2)),
        ("30m", NOW + timedelta(minutes=30)),
        ("2027-01-01", datetime(2027, 1, 1, tzinfo=UTC)),
        ("2027-01-01T00:00+09:00", datetime(2026, 12, 31, 15, tzinfo=UTC)),
        ("never", None),
    ],
)
def test_a_time_to_come_is_read(text: str, expected: datetime | None) -> None:
    assert moment(text, NOW) == expected


@pytest.mark.parametrize("text", ["", "soon", "90", "d", "-1d", "2027-13-01", "999999w"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(InvalidField, match="no time"):
        moment(text, NOW)


@pytest.mark.parametrize("text", ["2020-01-01", "0d"])
def test_a_time_that_has_passed_is_refused(text: str) -> None:
    with pytest.raises(InvalidField, match="passed"):
        moment(text, NOW)


def test_a_length_of_time_is_read() -> None:
    assert span("0m") == timedelta(0)
    assert span("7d") == timedelta(days=7)
    assert span("7 days") is None
