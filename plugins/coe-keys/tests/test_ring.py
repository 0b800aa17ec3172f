"""The ring: what is stored, what is recorded, and what is refused."""

import asyncio
import errno
import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from coe_keys.pepper import Pepper
from coe_keys.ring import KeyRing

from coe_core.codec import encode
from coe_core.error import Conflict, NotFound, SettingsError, Unavailable
from coe_core.settings import Secret
from coe_core.state import SqliteStateStore
from coe_core.testing import ManualClock


def contents(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*"))


async def test_the_plain_key_is_kept_nowhere(ring: KeyRing, tmp_path: Path) -> None:
    key, plain = await ring.create(group="default")
    _, again = await ring.rotate(key.id)
    kept = contents(tmp_path)
    for shown in (plain, again):
        assert shown.rpartition("_")[2].encode() not in kept


async def test_every_change_is_recorded_without_secrets(ring: KeyRing, journal: Any) -> None:
    key, plain = await ring.create(group="팀", role="admin", user="김", expires="90d")
    rotated, _ = await ring.rotate(key.id, grace=timedelta(hours=1))
    await ring.revoke(key.id)
    assert [record.key for record in journal.records] == [f"keys/{key.id}"] * 3
    assert {record.actor for record in journal.records} == {"tester"}
    assert journal.records[0].value["role"] == "admin"
    assert "revoked_at" in journal.records[2].value
    recorded = encode(journal.records).decode()
    for secret in (plain.rpartition("_")[2], key.digest, rotated.digest):
        assert secret not in recorded


async def test_keys_are_listed_oldest_first(ring: KeyRing, clock: ManualClock) -> None:
    made = []
    for name in ("하나", "둘", "셋"):
        made.append((await ring.create(group="default", name=name))[0])
        await clock.advance(1)
    assert await ring.keys() == made


async def test_a_damaged_stored_key_does_not_hide_the_others(
    ring: KeyRing, store: SqliteStateStore
) -> None:
    key, _ = await ring.create(group="default")
    await store.put("keys/damaged", {"id": "damaged", "role": "emperor"})
    assert await ring.keys() == [key]


async def test_an_unknown_key_is_neither_rotated_nor_revoked(ring: KeyRing) -> None:
    for change in (ring.rotate("nobody"), ring.revoke("nobody")):
        with pytest.raises(NotFound, match="coe keys list"):
            await change


async def test_rotation_keeps_what_is_not_changed(ring: KeyRing) -> None:
    key, plain = await ring.create(group="팀", role="operator", user="김", expires="90d")
    rotated, again = await ring.rotate(key.id)
    assert again != plain
    assert (rotated.group, rotated.role, rotated.user) == ("팀", "operator", "김")
    assert rotated.expires_at == key.expires_at
    assert (await ring.rotate(key.id, expires="never"))[0].expires_at is None


async def test_an_expired_key_is_rotated_only_with_a_new_end(
    ring: KeyRing, clock: ManualClock
) -> None:
    key, _ = await ring.create(group="default", expires="1h")
    await clock.advance(3600)
    with pytest.raises(Conflict, match="--expires"):
        await ring.rotate(key.id)
    renewed, _ = await ring.rotate(key.id, expires="1h")
    assert renewed.standing(clock.now()) == "active"


async def test_a_revoked_key_does_not_come_back(ring: KeyRing) -> None:
    key, _ = await ring.create(group="default")
    revoked = await ring.revoke(key.id)
    assert await ring.revoke(key.id) == revoked
    with pytest.raises(Conflict, match="revoked"):
        await ring.rotate(key.id, expires="90d")


async def test_of_two_changes_at_once_one_is_refused(ring: KeyRing) -> None:
    key, _ = await ring.create(group="default")
    changes = [ring.rotate(key.id), ring.revoke(key.id)]
    outcomes = await asyncio.gather(*changes, return_exceptions=True)
    assert sum(isinstance(outcome, Conflict) for outcome in outcomes) == 1


def test_the_pepper_is_made_once_and_for_its_owner_alone(pepper: Pepper) -> None:
    made = pepper.read_or_make()
    assert pepper.read_or_make() == pepper.read() == made
    assert pepper.file.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in pepper.file.parent.iterdir()] == ["pepper"]
    assert not pepper.exposed()
    pepper.file.chmod(0o644)
    assert pepper.exposed()


def test_a_pepper_that_cannot_be_made_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Unavailable, match="make room"):
        Pepper(None, tmp_path / "file" / "pepper").read_or_make()


def test_a_full_disk_leaves_no_half_of_a_pepper(
    pepper: Pepper, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Unavailable, match="No space left on device"):
        pepper.read_or_make()
    assert list(pepper.file.parent.iterdir()) == []


def test_reading_a_pepper_that_is_not_there_makes_none(pepper: Pepper) -> None:
    with pytest.raises(SettingsError, match="cannot be read"):
        pepper.read()
    assert not pepper.file.exists()


def test_a_pepper_in_the_environment_needs_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pepper = Pepper(Secret("env:COE_TEST_PEPPER"), tmp_path / "pepper")
    with pytest.raises(SettingsError, match="COE_TEST_PEPPER is not set"):
        pepper.read_or_make()
    monkeypatch.setenv("COE_TEST_PEPPER", "short")
    with pytest.raises(SettingsError, match="fewer than 16"):
        pepper.read_or_make()
    monkeypatch.setenv("COE_TEST_PEPPER", "long enough to be a pepper")
    assert pepper.read_or_make() == b"long enough to be a pepper"
    assert not pepper.file.exists()
