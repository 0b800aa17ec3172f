"""The SQLite state store: a dict with versions, shared by processes."""

import asyncio
import sqlite3
import sys
import tempfile
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from coe_core.error import Conflict, StartRefused, Unavailable
from coe_core.message import Json
from coe_core.service import StateStore, Versioned
from coe_core.state import SqliteStateStore
from coe_core.testing import StateStoreContract

KEYS = st.sampled_from(["", "a", "a/b", "a/b/c", "a/ㄱ", "a/가", "a/나", "a%", "A/b", "b", "키/😀"])
SCALARS = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(max_size=5)
VALUES = st.recursive(
    SCALARS, lambda v: st.lists(v, max_size=2) | st.dictionaries(st.text(max_size=3), v, max_size=2)
)


@asynccontextmanager
async def opened(path: Path) -> AsyncIterator[SqliteStateStore]:
    store = SqliteStateStore(path)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


class Model(RuleBasedStateMachine):
    """Two stores on one file against a dict."""

    @initialize()
    def begin(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.loop = asyncio.new_event_loop()
        path = Path(self.folder.name) / "state.sqlite"
        self.stores = [SqliteStateStore(path), SqliteStateStore(path)]
        for store in self.stores:
            self.loop.run_until_complete(store.open())
        self.model: dict[str, Versioned] = {}
        self.newest = 0

    def teardown(self) -> None:
        for store in self.stores:
            self.loop.run_until_complete(store.close())
        self.loop.close()
        self.folder.cleanup()

    def wrote(self, key: str, value: Json, returned: Versioned) -> None:
        if value is None:
            assert returned == Versioned()
            self.model.pop(key, None)
        else:
            assert returned.value == value
            assert returned.version > self.newest
            self.newest = returned.version
            self.model[key] = returned

    @rule(key=KEYS, value=VALUES, which=st.sampled_from([0, 1]))
    def put(self, key: str, value: Json, which: int) -> None:
        put = self.stores[which].put(key, value)
        self.wrote(key, value, self.loop.run_until_complete(put))

    @rule(key=KEYS, value=VALUES, which=st.sampled_from([0, 1]))
    def swap(self, key: str, value: Json, which: int) -> None:
        present = self.model.get(key, Versioned()).version
        put = self.stores[which].put(key, value, expect=present)
        self.wrote(key, value, self.loop.run_until_complete(put))

    @rule(key=KEYS, value=VALUES, stale=st.integers(0, 100), which=st.sampled_from([0, 1]))
    def swap_late(self, key: str, value: Json, stale: int, which: int) -> None:
        if stale != self.model.get(key, Versioned()).version:
            with pytest.raises(Conflict, match="changed"):
                self.loop.run_until_complete(self.stores[which].put(key, value, expect=stale))

    @rule(key=KEYS, which=st.sampled_from([0, 1]))
    def get(self, key: str, which: int) -> None:
        read = self.loop.run_until_complete(self.stores[which].get(key))
        assert read == self.model.get(key, Versioned())

    @rule(prefix=KEYS, which=st.sampled_from([0, 1]))
    def list(self, prefix: str, which: int) -> None:
        read = self.loop.run_until_complete(self.stores[which].list(prefix))
        assert read == {k: v for k, v in self.model.items() if k.startswith(prefix)}
        assert [*read] == sorted(read)

    @invariant()
    def both_agree(self) -> None:
        if hasattr(self, "stores"):
            one, other = (self.loop.run_until_complete(s.list("")) for s in self.stores)
            assert one == other == self.model


TestModel = Model.TestCase
TestModel.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)


def test_it_is_a_state_store(tmp_path: Path) -> None:
    assert isinstance(SqliteStateStore(tmp_path / "state.sqlite"), StateStore)


async def test_a_version_read_before_a_removal_never_fits_again(tmp_path: Path) -> None:
    async with opened(tmp_path / "state.sqlite") as store:
        before = await store.put("a", 1)
        await store.put("a", None)
        await store.put("a", 2, expect=0)
        with pytest.raises(Conflict):
            await store.put("a", 3, expect=before.version)


INCREMENT = """
import asyncio, sys
from pathlib import Path
from coe_core.error import Conflict
from coe_core.state import SqliteStateStore

async def main():
    store = SqliteStateStore(Path(sys.argv[1]))
    await store.open()
    print("ready", flush=True)
    sys.stdin.readline()
    done = 0
    while done < int(sys.argv[2]):
        present = await store.get("count")
        try:
            await store.put("count", (present.value or 0) + 1, expect=present.version)
        except Conflict:
            continue
        done += 1
    await store.close()

asyncio.run(main())
"""


async def test_no_increment_of_several_processes_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "not there yet" / "state.sqlite"
    command = [sys.executable, "-c", INCREMENT, str(path), "40"]
    processes = [
        await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE) for _ in range(4)
    ]
    for process in processes:
        assert process.stdout is not None
        assert await process.stdout.readline() == b"ready\n"
    # All begin at once, so that they are in each other's way.
    await asyncio.gather(*(process.communicate(b"go\n") for process in processes))
    assert [process.returncode for process in processes] == [0] * 4
    async with opened(path) as store:
        assert (await store.get("count")).value == 160


async def test_a_write_waits_for_that_of_another_process_and_then_sees_it(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite"
    async with opened(path) as store, asyncio.timeout(10):
        await store.put("a", 1)
        begun: list[str] = []
        await store._run(lambda connection: connection.set_trace_callback(begun.append))
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            other.execute("DELETE FROM state")
            waiting = asyncio.create_task(store.put("a", 2, expect=0))
            while not begun:
                await asyncio.sleep(0)
            other.execute("COMMIT")
        assert (await waiting).value == 2


async def test_concurrent_increments_in_one_process_are_not_lost(tmp_path: Path) -> None:
    async with opened(tmp_path / "state.sqlite") as store:

        async def increment() -> None:
            while True:
                present = await store.get("count")
                with suppress(Conflict):
                    await store.put("count", (present.value or 0) + 1, expect=present.version)
                    return

        await asyncio.gather(*(increment() for _ in range(10)))
        assert (await store.get("count")).value == 10


async def test_a_watcher_sees_what_other_processes_and_its_own_write(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite"
    async with opened(path) as mine, opened(path) as other, asyncio.timeout(10):
        watch = mine.watch("a/")
        assert await anext(watch) == {}
        await other.put("b/1", "not watched")
        written = await other.put("a/1", "하나")
        assert await anext(watch) == {"a/1": written}
        again = await mine.put("a/1", "둘")
        assert await anext(watch) == {"a/1": again}
        await other.put("a/1", None)
        assert await anext(watch) == {}


async def test_a_change_is_seen_within_a_second(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite"
    async with opened(path) as mine, opened(path) as other:
        watch = mine.watch("")
        await anext(watch)
        await other.put("a", 1)
        async with asyncio.timeout(1):
            await anext(watch)


async def test_watchers_end_when_the_store_is_closed(tmp_path: Path) -> None:
    async with asyncio.timeout(10):
        async with opened(tmp_path / "state.sqlite") as store:
            watch = store.watch("")
            await anext(watch)
        assert [values async for values in watch] == []


async def test_what_was_put_is_there_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite"
    async with opened(path) as store:
        written = await store.put("toggles/plugins/keyword", False)
    async with opened(path) as store:
        assert await store.get("toggles/plugins/keyword") == written


async def test_it_is_used_only_while_open(tmp_path: Path) -> None:
    async with opened(tmp_path / "state.sqlite") as store:
        pass
    with pytest.raises(Unavailable, match="not open"):
        await store.get("a")
    await store.close()


def a_file_as_folder(folder: Path) -> Path:
    (folder / "data").write_text("")
    return folder / "data" / "state.sqlite"


def a_folder_as_file(folder: Path) -> Path:
    (folder / "state.sqlite").mkdir()
    return folder / "state.sqlite"


def a_file_of_another_kind(folder: Path) -> Path:
    (folder / "state.sqlite").write_text("this is no database, " * 100)
    return folder / "state.sqlite"


@pytest.mark.parametrize("make", [a_file_as_folder, a_folder_as_file, a_file_of_another_kind])
async def test_a_file_of_no_use_is_one_clear_error(
    tmp_path: Path, make: Callable[[Path], Path]
) -> None:
    path = make(tmp_path)
    with pytest.raises(StartRefused, match=r"state file .* cannot be used: .*; make its folder"):
        await SqliteStateStore(path).open()


async def test_a_peek_sees_what_is_there_and_makes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "not there yet" / "state.sqlite"
    assert SqliteStateStore(path).peek("") == {}
    assert not path.parent.exists()
    async with opened(path) as store:
        await store.put("a/1", "하나")
        await store.put("b/1", 1)
        assert SqliteStateStore(path).peek("a/") == {"a/1": "하나"}
    assert SqliteStateStore(path).peek("a/") == {"a/1": "하나"}


def test_a_peek_into_what_a_kill_left_before_the_table_sees_nothing(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite"
    path.touch()
    assert SqliteStateStore(path).peek("") == {}


def test_a_peek_into_no_database_is_one_clear_error(tmp_path: Path) -> None:
    path = a_file_of_another_kind(tmp_path)
    with pytest.raises(Unavailable, match="state file .* failed") as raised:
        SqliteStateStore(path).peek("")
    assert str(tmp_path) not in raised.value.message


class TestSqliteStateStore(StateStoreContract):
    examples = 5

    async def make(self) -> AsyncIterator[SqliteStateStore]:
        with tempfile.TemporaryDirectory() as folder:
            yield SqliteStateStore(Path(folder) / "state.sqlite", poll_s=0.01)


async def test_what_this_process_writes_its_watchers_see_at_once(tmp_path: Path) -> None:
    store = SqliteStateStore(tmp_path / "state.sqlite", poll_s=3600)
    await store.open()
    async with asyncio.timeout(10):
        watch = store.watch("a/")
        assert await anext(watch) == {}
        for value in (True, False):
            pending = asyncio.ensure_future(anext(watch))
            await asyncio.sleep(0)
            await store.put("a/1", value)
            assert (await pending)["a/1"].value is value
        await store.close()
        assert [values async for values in watch] == []
