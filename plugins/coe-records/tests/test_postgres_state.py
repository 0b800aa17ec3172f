"""The state that machines share: each with a data folder of its own, and one Postgres."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, aclosing
from pathlib import Path
from typing import Any, cast

import pytest
from coe_records.plugin import RecordsPlugin
from coe_records.postgres_state import PostgresStateStore

from coe_core import StateStore, hookimpl
from coe_core.error import Conflict, StartRefused, Unavailable
from coe_core.host import Host
from coe_core.settings import Secret
from coe_core.state import STATE_FILE, SqliteStateStore
from coe_core.testing import StateStoreContract, deployment
from coe_core.testing.postgres import cluster, new_schema
from coe_core.toggle import plugin_toggle

Store = Callable[[], PostgresStateStore]


@pytest.fixture
def address(new_server: Callable[[], str], tmp_path: Path) -> Secret:
    (file := tmp_path / "address").write_text(new_server())
    return Secret(f"file:{file}")


@pytest.fixture
async def opened(address: Secret, tmp_path: Path) -> AsyncIterator[Any]:
    """Open the store of one more machine."""
    machines = itertools.count()
    async with AsyncExitStack() as stack:

        async def open_(own: dict[str, Any] | None = None) -> PostgresStateStore:
            file = tmp_path / str(next(machines)) / STATE_FILE
            if own:
                before = SqliteStateStore(file)
                await before.open()
                for key, value in own.items():
                    await before.put(key, value)
                await before.close()
            store = PostgresStateStore(file, address)
            await store.open()
            stack.push_async_callback(store.close)
            return store

        yield open_


class TestState(StateStoreContract):
    examples = 6

    @pytest.fixture(autouse=True)
    def on_server(self, new_server: Callable[[], str], tmp_path: Path) -> None:
        self.new_server, self.folder = new_server, tmp_path

    def make(self) -> PostgresStateStore:
        (file := self.folder / "address").write_text(self.new_server())
        return PostgresStateStore(self.folder / "none" / STATE_FILE, Secret(f"file:{file}"))


async def test_one_machine_hears_of_another(opened: Any) -> None:
    here, there = await opened(), await opened()
    async with aclosing(cast("Any", here.watch("toggles/"))) as seen:
        assert await anext(seen) == {}
        await there.put("budgets/x", 1)  # Which wakes nobody.
        written = await there.put("toggles/x", False)
        async with asyncio.timeout(1):
            assert await anext(seen) == {"toggles/x": written}


async def test_one_writer_of_all_machines_wins(opened: Any) -> None:
    stores = [await opened() for _ in range(3)]

    async def write(number: int) -> bool:
        try:
            await stores[number % 3].put("key", number, expect=0)
        except Conflict:
            return False
        return True

    assert sum(await asyncio.gather(*map(write, range(9)))) == 1


async def test_begins_with_what_the_first_machine_had(opened: Any) -> None:
    """And not with what another had: who may do what was decided by then."""
    first = await opened({"keys/a": {"group": "law"}, "toggles/x": False})
    second = await opened({"keys/b": {"group": "ops"}})
    assert await second.list("") == await first.list("")
    assert set(await second.list("")) == {"keys/a", "toggles/x"}


async def test_what_was_removed_does_not_come_back(opened: Any) -> None:
    await (await opened()).put("keys/a", None)
    assert await (await opened({"keys/a": 1})).list("") == {}


async def test_goes_on_once_the_server_is_back(tmp_path: Path) -> None:
    with cluster() as server:
        (file := tmp_path / "address").write_text(new_schema(server.url))
        store = PostgresStateStore(tmp_path / STATE_FILE, Secret(f"file:{file}"))
        await store.open()
        written = await store.put("toggles/x", True)
        async with aclosing(cast("Any", store.watch("toggles/"))) as seen:
            assert await anext(seen) == {"toggles/x": written}
            await asyncio.to_thread(server.stop, at_once=True)
            with pytest.raises(Unavailable, match="the state store on Postgres failed"):
                await store.get("toggles/x")
            await asyncio.to_thread(server.start)
            assert await store.get("toggles/x") == written
            later = await store.put("toggles/x", False)
            assert await anext(seen) == {"toggles/x": later}
        await store.close()


class IdlePlugin:
    @hookimpl
    def coe_tools(self, ctx: Any) -> list[Any]:
        return []


@pytest.fixture
async def machines(address: Secret, tmp_path: Path) -> AsyncIterator[Any]:
    """Start a host on one more machine."""
    numbers = itertools.count()
    plugins = {"idle": IdlePlugin, "records": RecordsPlugin}
    settings = f'[plugins.records]\ndatabase = "{address.reference}"\n'
    async with AsyncExitStack() as stack:

        async def start() -> Host:
            folder = tmp_path / f"machine{next(numbers)}"
            running = deployment(settings, plugins=plugins, data_dir=folder)
            return await stack.enter_async_context(running)

        yield start


def is_on(host: Host, plugin: str) -> bool:
    return {report.name: report.enabled for report in host.application.plugins}[plugin]


async def test_switch_of_one_machine_is_thrown_on_all(machines: Any) -> None:
    here, there = await machines(), await machines()
    await here.change(plugin_toggle("idle"), value=False, actor="tester")
    async with asyncio.timeout(5):
        while is_on(there, "idle"):
            await asyncio.sleep(0.01)
    assert not is_on(await machines(), "idle")


async def test_new_machine_knows_the_keys_before_it_serves(machines: Any) -> None:
    """Without keys it would let in whoever is on the machine."""
    assert not (await machines()).application.holds_keys
    here = await machines()
    await here.application.need(StateStore).put("keys/a", {"group": "law"})
    assert (await machines()).application.holds_keys


async def test_what_keeps_the_switches_is_not_switched_off(machines: Any) -> None:
    host = await machines()
    with pytest.raises(Conflict, match="cannot be switched off over itself"):
        await host.change(plugin_toggle("records"), value=False, actor="tester")
    await host.application.need(StateStore).put(plugin_toggle("records"), False)
    assert is_on(await machines(), "records")


async def test_start_without_the_state_is_refused(tmp_path: Path) -> None:
    (file := tmp_path / "address").write_text("postgresql://nobody@127.0.0.1:1/none")
    settings = f'[plugins.records]\ndatabase = "file:{file}"\n'
    with pytest.raises(StartRefused, match="nobody knows who may do what"):
        async with deployment(settings, plugins={"records": RecordsPlugin}):
            pass
