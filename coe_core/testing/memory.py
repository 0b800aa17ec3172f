"""A state store in memory, for tests that have no need of a file."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping

from attrs import define, field

from coe_core.codec import decode, encode
from coe_core.error import Conflict
from coe_core.message import Json
from coe_core.service import Versioned

ABSENT = Versioned()


@define
class MemoryStateStore:
    """A `StateStore` of one process."""

    _values: dict[str, Versioned] = field(factory=dict, init=False)
    _writes: int = field(default=0, init=False)
    _watchers: set[asyncio.Event] = field(factory=set, init=False)

    async def get(self, key: str) -> Versioned:
        """Read one value."""
        return self._values.get(key, ABSENT)

    async def list(self, prefix: str) -> Mapping[str, Versioned]:
        """Read all values whose key begins with `prefix`, by key."""
        return {key: self._values[key] for key in sorted(self._values) if key.startswith(prefix)}

    async def put(self, key: str, value: Json, *, expect: int | None = None) -> Versioned:
        """Write a value. Raises `Conflict` when its version is not `expect`."""
        if expect not in (None, self._values.get(key, ABSENT).version):
            raise Conflict(f"{key} was changed by somebody else meanwhile")
        # One counter for all keys: a version is not given out again after a key was removed.
        self._writes += 1
        written = ABSENT
        if value is None:
            self._values.pop(key, None)
        else:
            # Through JSON, as every store does it: nobody keeps a hand on what is stored.
            written = Versioned(value=decode(encode(value)), version=self._writes)
            self._values[key] = written
        for watcher in self._watchers:
            watcher.set()
        return written

    async def watch(self, prefix: str) -> AsyncIterator[Mapping[str, Versioned]]:
        """Yield the values under `prefix` now, and again after each change."""
        changed = asyncio.Event()
        self._watchers.add(changed)
        try:
            yield (seen := await self.list(prefix))
            while await changed.wait():
                changed.clear()
                if (values := await self.list(prefix)) != seen:
                    yield (seen := values)
        finally:
            self._watchers.discard(changed)
