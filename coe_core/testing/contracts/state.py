"""The laws of state stores."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import aclosing
from typing import Any, TypeAlias, cast

from hypothesis import strategies as st

from coe_core.error import Conflict
from coe_core.message import Json
from coe_core.service import StateStore, Versioned
from coe_core.testing.contracts.component import ServiceContract, untouched
from coe_core.testing.contracts.law import PATIENCE_S, law
from coe_core.testing.strategies import json_values

KEYS = ("toggles/plugins/a", "toggles/plugins/b", "toggles_x", "togg%", "키/팀", "params/k")
PREFIXES = ("", "toggles/", "toggles/plugins/a", "togg", "togg%", "키/", "none/")

Write: TypeAlias = tuple[str, Json]

WRITES = st.lists(st.tuples(st.sampled_from(KEYS), json_values()), max_size=6)


class StateStoreContract(ServiceContract[StateStore]):
    """What holds of every state store. `make` returns an empty one."""

    contract = StateStore

    @law(writes=WRITES)
    async def test_remembers_what_was_written(self, store: StateStore, writes: list[Write]) -> None:
        """After any writes, every key has its last value; None removed it."""
        model: dict[str, Json] = {}
        for key, value in writes:
            with untouched(value):
                await store.put(key, value)
            model[key] = value
        for key in KEYS:
            value = model.get(key)
            found = await store.get(key)
            assert found.value == value, f"{key!r} was {value!r}, get() says {found.value!r}"
            assert (found.version == 0) == (value is None), (
                f"{key!r} is {value!r} and has version {found.version}; 0 means absent"
            )

    @law(writes=WRITES, prefix=st.sampled_from(PREFIXES))
    async def test_lists_by_prefix(
        self, store: StateStore, writes: list[Write], prefix: str
    ) -> None:
        """`list` returns exactly the keys that begin with the prefix; `%` and `_` are letters."""
        for key, value in writes:
            await store.put(key, value)
        wanted = {key for key, value in dict(writes).items() if value is not None}
        listed = await store.list(prefix)
        assert set(listed) == {key for key in wanted if key.startswith(prefix)}, (
            f"of {sorted(wanted)} the prefix {prefix!r} gave {sorted(listed)}"
        )
        for key, versioned in listed.items():
            assert versioned == await store.get(key), f"list() and get() differ on {key!r}"

    @law(values=st.lists(json_values(), min_size=1, max_size=5))
    async def test_gives_growing_versions(self, store: StateStore, values: list[Json]) -> None:
        """Each write of a key has a greater version than every one before, also after the key
        was removed: who read it before must not take the new value for the old.
        """
        last = 0
        for value in (*values, None, "again"):
            written = await store.put("key", value)
            if value is not None:
                assert written.version > last, f"version {written.version} came after {last}"
                assert written == await store.get("key"), "put() returns what get() then says"
                last = written.version

    @law(value=json_values().filter(lambda value: value is not None))
    async def test_refuses_a_stale_write(self, store: StateStore, value: Json) -> None:
        """A write that expects another version raises `Conflict` and writes nothing."""
        first = await store.put("key", "first", expect=0)
        second = await store.put("key", value, expect=first.version)
        for stale in (0, first.version):
            try:
                await store.put("key", "stale", expect=stale)
            except Conflict:
                continue
            raise AssertionError(
                f"the version was {second.version}, a write that expected {stale} went through"
            )
        assert await store.get("key") == second, "a refused write changed the value"

    @law(writers=st.integers(2, 6))
    async def test_lets_one_writer_win(self, store: StateStore, writers: int) -> None:
        """Of several writers that expect the same version, one succeeds."""

        async def write(number: int) -> bool:
            try:
                await store.put("key", number, expect=0)
            except Conflict:
                return False
            return True

        won = await asyncio.gather(*map(write, range(writers)))
        assert sum(won) == 1, f"of {writers} writers at once {sum(won)} succeeded"

    @law(writes=WRITES)
    async def test_tells_watchers(self, store: StateStore, writes: list[Write]) -> None:
        """A watcher is told the values at once, and the new ones within a second of a change."""
        async with aclosing(cast("Any", store.watch("toggles/"))) as seen:
            assert await _told(seen) == await store.list("toggles/"), "the first are those now"
            for key, value in writes:
                await store.put(key, value)
            last = await store.put("toggles/end", len(writes))
            while (told := await _told(seen)).get("toggles/end") != last:
                pass
            assert told == await store.list("toggles/"), f"was told {told!r}"


async def _told(seen: Any) -> Mapping[str, Versioned]:
    try:
        async with asyncio.timeout(PATIENCE_S + 1):
            return cast("Mapping[str, Versioned]", await anext(seen))
    except TimeoutError:
        raise AssertionError(f"a watcher was told nothing for {PATIENCE_S + 1:g} s") from None
