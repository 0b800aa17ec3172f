"""The authenticator: looks keys up in memory, and hears of each change within a second."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from attrs import define, field
from loguru import logger

from coe_core.access import KEYS, Credentials, GroupName, Principal
from coe_core.error import CoeError, Unauthenticated, Unavailable
from coe_core.service import Clock, StateStore, Versioned
from coe_keys.key import PREFIX, Key, digest_of, id_of
from coe_keys.pepper import Pepper
from coe_keys.ring import readable

RETRY_S = 1.0

UNKNOWN = "the API key is not known; check that it was copied whole, or ask an admin for one"


@define(eq=False)
class KeyAuthenticator:
    """Knows who holds a key. Asks no disk per request; usable once it is open."""

    store: StateStore
    clock: Clock
    pepper: Pepper
    name: str = "keys"
    has_keys: bool = field(default=True, init=False)
    """Whether any key was ever made: from then on a request without one is refused. True also
    while that is not known, so that trouble never opens the server.
    """
    _keys: Mapping[str, Key] = field(factory=dict, init=False, repr=False)
    _pepper: bytes = field(default=b"", init=False, repr=False)
    _trouble: CoeError | None = field(default=None, init=False)
    _heard: asyncio.Event = field(factory=asyncio.Event, init=False, repr=False)
    _watcher: asyncio.Task[None] | None = field(default=None, init=False, repr=False)

    async def open(self) -> None:
        self._watcher = asyncio.create_task(self._follow())
        await self._heard.wait()

    async def close(self) -> None:
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.wait([self._watcher])

    async def authenticate(self, credentials: Credentials) -> Principal | None:
        token = credentials.token
        if not self.has_keys or token is None or not token.startswith(PREFIX):
            return None
        if self._trouble is not None:
            raise Unavailable("API keys cannot be checked now; `coe doctor` on the server says why")
        return _principal(self._known(token))

    def _known(self, token: str) -> Key:
        """Find the key that the token is, good or ended, or raise `Unauthenticated`."""
        key = self._keys.get(id_of(token) or "")
        now = self.clock.now()
        if key is None or not key.fits(digest_of(token, self._pepper), now):
            raise Unauthenticated(UNKNOWN)
        match key.standing(now):
            case "revoked":
                raise Unauthenticated(f"the API key {key.id} was revoked; ask an admin for another")
            case "expired":
                raise Unauthenticated(f"the API key {key.id} has expired; ask an admin for another")
            case "active":
                return key

    async def _follow(self) -> None:
        while True:
            try:
                async for values in self.store.watch(KEYS):
                    self._take(values)
            except CoeError as error:
                self._trouble = error
                self._heard.set()
                logger.bind(error=str(error)).error("API keys cannot be read; trying again")
                await self.clock.sleep(RETRY_S)
            else:
                return

    def _take(self, values: Mapping[str, Versioned]) -> None:
        self.has_keys = bool(values)
        if values:
            self._pepper = self.pepper.read()
        self._keys = {key.id: key for key in readable(values)}
        self._trouble = None
        self._heard.set()


def _principal(key: Key) -> Principal:
    return Principal(group=GroupName(key.group), key_id=key.id, user=key.user, role=key.role)
