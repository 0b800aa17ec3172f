"""The authenticator: who holds which key, from the moment it changes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from coe_keys.authenticator import KeyAuthenticator
from coe_keys.check import KeysCheck
from coe_keys.pepper import Pepper
from coe_keys.ring import KeyRing

from coe_core.access import Credentials, GroupName, Principal
from coe_core.contract import Authenticator
from coe_core.ephemeral import EphemeralRecords
from coe_core.error import Unauthenticated, Unavailable
from coe_core.state import SqliteStateStore
from coe_core.testing import AuthenticatorContract, CheckContract, ManualClock, MemoryStateStore

UNTIL_S = 10.0


@pytest.fixture
async def authenticator(
    store: SqliteStateStore, clock: ManualClock, pepper: Pepper
) -> AsyncIterator[KeyAuthenticator]:
    async with opened(KeyAuthenticator(store, clock, pepper)) as authenticator:
        yield authenticator


@asynccontextmanager
async def opened(authenticator: KeyAuthenticator) -> AsyncIterator[KeyAuthenticator]:
    await authenticator.open()
    try:
        yield authenticator
    finally:
        await authenticator.close()


async def until_knows(authenticator: KeyAuthenticator, plain: str) -> Principal:
    async with asyncio.timeout(UNTIL_S):
        while True:
            try:
                principal = await authenticator.authenticate(Credentials(token=plain))
                if principal is not None:
                    return principal
            except (Unauthenticated, Unavailable):
                pass
            await asyncio.sleep(0.001)


async def until_refused(authenticator: KeyAuthenticator, plain: str) -> str:
    async with asyncio.timeout(UNTIL_S):
        while True:
            try:
                await authenticator.authenticate(Credentials(token=plain))
            except Unauthenticated as refusal:
                return refusal.message
            await asyncio.sleep(0.001)


async def test_without_any_key_nobody_is_asked_for_one(authenticator: KeyAuthenticator) -> None:
    assert not authenticator.has_keys
    for token in (None, "sk-something", "coe_something"):
        assert await authenticator.authenticate(Credentials(token=token)) is None


async def test_a_new_key_is_known_by_group_user_and_role(
    ring: KeyRing, authenticator: KeyAuthenticator
) -> None:
    key, plain = await ring.create(group="팀", role="operator", user="김")
    known = await until_knows(authenticator, plain)
    assert known == Principal(group=GroupName("팀"), key_id=key.id, user="김", role="operator")
    assert authenticator.has_keys


async def test_credentials_of_another_kind_are_left_to_others(
    ring: KeyRing, authenticator: KeyAuthenticator
) -> None:
    _, plain = await ring.create(group="default")
    await until_knows(authenticator, plain)
    for token in (None, "", "sk-other", "Bearer"):
        assert await authenticator.authenticate(Credentials(token=token)) is None


async def test_a_wrong_secret_for_a_known_id_is_unknown(
    ring: KeyRing, authenticator: KeyAuthenticator
) -> None:
    _, plain = await ring.create(group="default")
    await until_knows(authenticator, plain)
    wrong = plain[:-1] + ("0" if plain[-1] != "0" else "1")
    for token in (wrong, plain[:-1], "coe_", "coe_\udcff", f"coe_{'0' * 12}_{'0' * 48}"):
        with pytest.raises(Unauthenticated, match="not known"):
            await authenticator.authenticate(Credentials(token=token))


async def test_a_revoked_key_is_refused_and_keys_still_exist(
    ring: KeyRing, authenticator: KeyAuthenticator
) -> None:
    key, plain = await ring.create(group="default")
    await until_knows(authenticator, plain)
    await ring.revoke(key.id)
    assert "was revoked" in await until_refused(authenticator, plain)
    assert authenticator.has_keys


async def test_a_revocation_by_another_process_holds_within_a_second(
    ring: KeyRing, clock: ManualClock, pepper: Pepper, tmp_path: Path
) -> None:
    key, plain = await ring.create(group="default")
    mine = SqliteStateStore(tmp_path / "state.sqlite")  # polls as deployments do
    await mine.open()
    async with opened(KeyAuthenticator(mine, clock, pepper)) as authenticator:
        await until_knows(authenticator, plain)
        await ring.revoke(key.id)
        async with asyncio.timeout(1):
            await until_refused(authenticator, plain)
    await mine.close()


async def test_a_key_expires_without_anybody_touching_it(
    ring: KeyRing, authenticator: KeyAuthenticator, clock: ManualClock
) -> None:
    _, plain = await ring.create(group="default", expires="1h")
    await until_knows(authenticator, plain)
    await clock.advance(3600)
    with pytest.raises(Unauthenticated, match="has expired"):
        await authenticator.authenticate(Credentials(token=plain))


async def test_after_a_rotation_the_old_key_is_good_for_its_grace(
    ring: KeyRing, authenticator: KeyAuthenticator, clock: ManualClock
) -> None:
    key, old = await ring.create(group="default")
    await until_knows(authenticator, old)
    _, new = await ring.rotate(key.id, grace=timedelta(hours=1))
    await until_knows(authenticator, new)
    await until_knows(authenticator, old)
    await clock.advance(3600)
    with pytest.raises(Unauthenticated):
        await authenticator.authenticate(Credentials(token=old))
    await until_knows(authenticator, new)


async def test_without_its_pepper_the_server_closes_instead_of_opening(
    ring: KeyRing, store: SqliteStateStore, clock: ManualClock, pepper: Pepper
) -> None:
    _, plain = await ring.create(group="default")
    kept = pepper.file.read_bytes()
    pepper.file.unlink()
    async with opened(KeyAuthenticator(store, clock, pepper)) as authenticator:
        assert authenticator.has_keys
        with pytest.raises(Unavailable, match="coe doctor"):
            await authenticator.authenticate(Credentials(token=plain))
        pepper.file.write_bytes(kept)
        await clock.advance(1)
        await until_knows(authenticator, plain)


async def test_until_it_has_heard_of_the_keys_it_is_closed(
    store: SqliteStateStore, clock: ManualClock, pepper: Pepper
) -> None:
    assert KeyAuthenticator(store, clock, pepper).has_keys


async def checked(store: SqliteStateStore, pepper: Pepper) -> str:
    finding = await KeysCheck(store, pepper).check()
    return "" if finding.ok else finding.text


async def test_the_doctor_finds_what_makes_keys_useless(
    ring: KeyRing, store: SqliteStateStore, pepper: Pepper
) -> None:
    assert await checked(store, pepper) == ""
    key, _ = await ring.create(group="default")
    assert await checked(store, pepper) == ""
    pepper.file.chmod(0o640)
    assert "others may read" in await checked(store, pepper)
    pepper.file.unlink()
    assert "cannot be read" in await checked(store, pepper)
    pepper.read_or_make()
    assert f"another pepper, so of no use: {key.id}" in await checked(store, pepper)
    await ring.rotate(key.id)
    assert await checked(store, pepper) == ""
    await store.put("keys/damaged", 7)
    assert "damaged stored keys: 1" in await checked(store, pepper)


class TestKeyAuthenticator(AuthenticatorContract):
    """The suite's authenticator, with a key in its store."""

    async def make(self) -> AsyncIterator[KeyAuthenticator]:
        store, clock = MemoryStateStore(), ManualClock()
        with TemporaryDirectory() as folder:
            pepper = Pepper(None, Path(folder) / "pepper")
            ring = KeyRing(store, EphemeralRecords(), clock, pepper, actor="tester")
            _, self.plain = await ring.create(group="default")
            yield KeyAuthenticator(store, clock, pepper)

    def valid(self, authenticator: Authenticator) -> Credentials:
        return Credentials(token=self.plain)


class TestKeysCheck(CheckContract):
    def make(self) -> KeysCheck:
        return KeysCheck(MemoryStateStore(), Pepper(None, Path("pepper")))
