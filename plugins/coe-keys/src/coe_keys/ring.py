"""The ring: makes, lists, rotates and revokes keys, and records each change."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta

from attrs import evolve, frozen
from loguru import logger

from coe_core.access import KEYS, AccessRole
from coe_core.codec import shape_errors, structure, unstructure
from coe_core.error import Conflict, NotFound
from coe_core.record import StateChange
from coe_core.service import Clock, Journal, StateStore, Versioned
from coe_keys.key import Key, check_group, digest_of, make_id, make_plain, moment
from coe_keys.pepper import Pepper, fingerprint

SECRET_FIELDS = frozenset({"digest", "former_digest", "pepper"})


@frozen
class KeyRing:
    """The keys of a deployment."""

    store: StateStore
    journal: Journal
    clock: Clock
    pepper: Pepper
    actor: str

    async def create(
        self,
        *,
        group: str,
        role: AccessRole = "member",
        expires: str = "never",
        user: str | None = None,
        name: str | None = None,
    ) -> tuple[Key, str]:
        """Make a key; returns it and the plain key, which is kept nowhere.

        Raises `InvalidField` when the group has no fit name or `expires` is no time to come: see
        `check_group` and `moment`.
        """
        check_group(group)
        now = self.clock.now()
        expires_at = moment(expires, now)
        pepper = self.pepper.read_or_make()
        key_id = make_id()
        plain = make_plain(key_id)
        key = Key(
            id=key_id,
            digest=digest_of(plain, pepper),
            pepper=fingerprint(pepper),
            group=group,
            role=role,
            user=user,
            name=name,
            created_at=now,
            expires_at=expires_at,
        )
        await self._put(key, expect=0)
        return key, plain

    async def keys(self) -> list[Key]:
        """List all keys, the good and the ended, oldest first."""
        return sorted(
            readable(await self.store.list(KEYS)), key=lambda key: (key.created_at, key.id)
        )

    async def rotate(
        self, key_id: str, *, expires: str | None = None, grace: timedelta = timedelta(0)
    ) -> tuple[Key, str]:
        """Replace the plain key; the old one is good for `grace` longer.

        `expires` None leaves the end as it is. Raises `NotFound`, or `Conflict` when the key has
        ended.
        """
        key, version = await self._find(key_id)
        now = self.clock.now()
        renewed = evolve(key, expires_at=moment(expires, now)) if expires else key
        if (standing := renewed.standing(now)) != "active":
            raise Conflict(f"the key {key_id} is {standing}: {_after(standing)}")
        pepper = self.pepper.read_or_make()
        plain = make_plain(key_id)
        rotated = evolve(
            renewed,
            digest=digest_of(plain, pepper),
            pepper=fingerprint(pepper),
            former_digest=key.digest if grace else None,
            former_until=now + grace if grace else None,
        )
        await self._put(rotated, expect=version)
        return rotated, plain

    async def revoke(self, key_id: str) -> Key:
        """End a key. It stays in the store, so that the last key's end does not open the server."""
        key, version = await self._find(key_id)
        if key.revoked_at is not None:
            return key
        revoked = evolve(key, revoked_at=self.clock.now())
        await self._put(revoked, expect=version)
        return revoked

    async def _find(self, key_id: str) -> tuple[Key, int]:
        found: Versioned = await self.store.get(KEYS + key_id)
        if not found.version:
            raise NotFound(f"there is no key {key_id!r}; `coe keys list` shows their ids")
        return structure(found.value, Key), found.version

    async def _put(self, key: Key, *, expect: int) -> None:
        # The state first: a revocation must hold even if it cannot be recorded.
        await self.store.put(KEYS + key.id, unstructure(key), expect=expect)
        change = StateChange(
            key=KEYS + key.id, value=shown(key), actor=self.actor, at=self.clock.now()
        )
        await self.journal.append(change)


def readable(values: Mapping[str, Versioned]) -> Iterator[Key]:
    """Yield the keys among stored values; a damaged one is reported and left out."""
    for path, versioned in values.items():
        try:
            yield structure(versioned.value, Key)
        except Exception as error:
            problem = shape_errors(error)[0]
            logger.bind(key=path, problem=problem).error("A stored API key is damaged")


def shown(key: Key) -> dict[str, object]:
    """Return what may be shown of a key."""
    fields: dict[str, object] = unstructure(key)
    return {name: value for name, value in fields.items() if name not in SECRET_FIELDS}


def _after(standing: str) -> str:
    return "give a new --expires" if standing == "expired" else "create another"
