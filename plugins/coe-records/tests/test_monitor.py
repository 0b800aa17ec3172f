"""What the records measure; that each thing an operator must know is said, and that it ends."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from random import Random
from typing import Any

import pytest
from coe_records.disk import Disk
from coe_records.folder import DataFolder
from coe_records.journal import GroupJournal
from coe_records.monitor import LAG_S, RecordsMonitor, RecordsRule, rules
from coe_records.probe import Probe, Spot
from coe_records.records import Records
from coe_records.window import SPAN_S, Window
from coe_records.writer import Writer

from coe_core.contract import Alert
from coe_core.error import Unavailable
from coe_core.record import Interaction
from coe_core.settings import Secret
from coe_core.testing import AlertRuleContract, MemoryStateStore, MonitorContract
from coe_core.testing.clock import ManualClock

MakeTurn = Callable[..., Interaction]
PROBE_S = 5.0


async def watched(folder: DataFolder, clock: ManualClock) -> AsyncIterator[RecordsMonitor]:
    server = Secret(f"file:{folder.path}.server") if folder.server else None
    records = Records(folder.path, clock, 1 << 20, server)
    await records.open()
    yield RecordsMonitor(records, clock, MemoryStateStore(), PROBE_S)
    await records.close()


class OnFolders:
    @pytest.fixture(autouse=True)
    def folders(self, new_folder: Callable[[], DataFolder]) -> None:
        self.new_folder = new_folder


class TestMonitor(OnFolders, MonitorContract):
    def make(self) -> AsyncIterator[RecordsMonitor]:
        return watched(self.new_folder(), ManualClock())


class TestRule(OnFolders, AlertRuleContract):
    async def make(self) -> AsyncIterator[RecordsRule]:
        async for monitor in watched(self.new_folder(), ManualClock()):
            monitor.trouble = "it is gone"
            yield rules(monitor)[1]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def monitor(folder: DataFolder, clock: ManualClock) -> AsyncIterator[RecordsMonitor]:
    async for monitor in watched(folder, clock):
        await monitor.open()
        yield monitor
        await monitor.close()


async def figures(monitor: RecordsMonitor) -> dict[str, float]:
    return {s.metric.removeprefix("coe_"): s.value for s in await monitor.measure()}


async def alerts(monitor: RecordsMonitor) -> dict[str, Alert]:
    now = monitor._clock.now()
    return {alert.rule: alert for rule in rules(monitor) for alert in await rule.evaluate(now)}


async def look(monitor: RecordsMonitor, clock: ManualClock, times: int = 1) -> None:
    """Look, when the monitor has looked by itself: a probe is for one thread at a time."""
    while not clock._sleepers:
        await asyncio.sleep(0.001)
    for _ in range(times):
        await monitor.records.look(monitor.probe)


async def until(is_so: Callable[[], bool], clock: ManualClock) -> None:
    """Let the monitor look, on its thread, until something is so."""
    for _ in range(2000):
        if is_so():
            return
        await clock.advance(PROBE_S)
        await asyncio.sleep(0.001)
    raise AssertionError("it never was so")


class HeldDisk(Disk):
    """Its syncs wait until they are let go."""

    def __init__(self) -> None:
        self.holds, self.free = threading.Event(), threading.Event()

    def sync(self, fd: int) -> None:
        self.holds.set()
        self.free.wait()
        super().sync(fd)


async def test_those_who_wait_for_the_disk_are_counted(
    folder: DataFolder, open_writer: Callable[..., Writer], make_turn: MakeTurn
) -> None:
    disk = HeldDisk()
    journal = GroupJournal(folder, lambda: open_writer(folder, disk=disk))
    await journal.open()
    assert (journal.queue_turns, journal.oldest_waiting_s) == (0, 0.0)
    turns = [asyncio.create_task(journal.append(make_turn(n))) for n in range(3)]
    await asyncio.to_thread(disk.holds.wait)
    turns.append(asyncio.create_task(journal.append(make_turn(3))))
    await asyncio.sleep(0)
    assert journal.queue_turns == 4
    assert journal.oldest_waiting_s > 0
    disk.free.set()
    await asyncio.gather(*turns)
    assert (journal.queue_turns, journal.oldest_waiting_s) == (0, 0.0)
    await journal.close()


async def test_times_of_syncs_and_groups_have_quantiles(
    monitor: RecordsMonitor, make_turn: MakeTurn
) -> None:
    assert "journal_fsync_seconds" not in await figures(monitor)
    await asyncio.gather(*(monitor.records.append(make_turn(n)) for n in range(5)))
    quantiles = {s.labels.get("quantile") for s in await monitor.measure() if "commit" in s.metric}
    assert quantiles == {"0.5", "0.95", "0.99"}
    seen = await figures(monitor)
    assert 0 < seen["journal_fsync_seconds"] <= seen["journal_commit_seconds"]


def test_a_window_forgets() -> None:
    now_s = [0.0]
    window = Window(lambda: now_s[0])
    for duration_s in (1.0, 2.0, 3.0, 4.0):
        with window.timing():
            now_s[0] += duration_s
    assert window.quantiles(0.0, 0.5, 1.0) == {0.0: 1.0, 0.5: 3.0, 1.0: 4.0}
    now_s[0] += SPAN_S - 3
    assert window.quantiles(0.0) == {0.0: 4.0}, "what ended longer ago is over"
    now_s[0] += 5
    assert window.quantiles(0.5) == {}


async def test_a_journal_that_refuses_says_why_until_it_goes_on(
    tmp_path: Any, clock: ManualClock, make_turn: MakeTurn
) -> None:
    obstacle = tmp_path / "events"
    obstacle.write_text("a file where the folder should be")
    async for monitor in watched(DataFolder(tmp_path), clock):
        await monitor.open()
        told = (await alerts(monitor))["records-refusing"].text
        assert "cannot be used: Not a directory" in told
        assert str(tmp_path) not in told, "clients read it as well"
        with pytest.raises(Unavailable):
            await monitor.records.append(make_turn())
        assert (await figures(monitor))["journal_refusing"] == 1
        obstacle.unlink()
        await monitor.records.append(make_turn())
        assert "records-refusing" not in await alerts(monitor)
        assert (await figures(monitor))["journal_refusing"] == 0
        await monitor.close()


async def test_a_journal_that_nobody_sends_turns_to_finds_out_that_it_can_write(
    tmp_path: Any, clock: ManualClock
) -> None:
    obstacle = tmp_path / "events"
    obstacle.write_text("a file where the folder should be")
    records = Records(tmp_path, clock, 1 << 20)
    await records.open()
    monitor = RecordsMonitor(records, clock, MemoryStateStore(), PROBE_S)
    await monitor.open()
    await until(lambda: monitor.trouble is not None, clock)
    assert records.refusal is not None
    obstacle.unlink()
    await until(lambda: records.refusal is None, clock)
    await monitor.close()
    await records.close()


async def test_it_looks_by_itself(
    monitor: RecordsMonitor, clock: ManualClock, make_turn: MakeTurn
) -> None:
    await monitor.records.append(make_turn())
    before = monitor.probe.checked
    await until(lambda: monitor.probe.checked > before, clock)


async def test_a_database_left_behind_is_said_after_a_while(
    monitor: RecordsMonitor, clock: ManualClock, make_turn: MakeTurn, sql: Any
) -> None:
    pointers = [await monitor.records.append(make_turn(n)) for n in range(3)]
    end = sql.execute("SELECT end_bytes FROM segments").fetchone()
    sql.execute("UPDATE segments SET end_bytes = ?", [pointers[1].offset])
    await look(monitor, clock)
    seen = await figures(monitor)
    assert seen["records_sync_lag_records"] == 2
    assert seen["records_sync_lag_bytes"] == pointers[1].length + pointers[2].length
    assert "records-sync-lag" not in await alerts(monitor)
    await clock.advance(LAG_S)
    await look(monitor, clock)
    assert "2 records" in (await alerts(monitor))["records-sync-lag"].text
    sql.execute("UPDATE segments SET end_bytes = ?", end)
    await look(monitor, clock)
    assert await alerts(monitor) == {}
    assert (await figures(monitor))["records_sync_lag_seconds"] == 0


async def test_a_database_that_keeps_up_does_not_lag_however_busy_it_is(
    monitor: RecordsMonitor, clock: ManualClock, make_turn: MakeTurn, sql: Any
) -> None:
    """There is always a group that is in the log and not yet committed."""
    for number in range(20):
        pointer = await monitor.records.append(make_turn(number))
        sql.execute("UPDATE segments SET end_bytes = ?", [pointer.offset])
        await look(monitor, clock)
        sql.execute("UPDATE segments SET end_bytes = ?", [pointer.offset + pointer.length])
        await clock.advance(PROBE_S)
    assert monitor.lag_s <= PROBE_S


async def test_a_turn_without_its_row_is_found_and_forgotten_when_mended(
    monitor: RecordsMonitor, clock: ManualClock, make_turn: MakeTurn, sql: Any
) -> None:
    for number in range(4):
        await monitor.records.append(make_turn(number))
    monitor.probe = Probe(monitor.records.log, Random(1))
    await look(monitor, clock, 20)
    assert (await figures(monitor))["records_spot_checks_total"] == 40
    assert await alerts(monitor) == {}
    row = sql.execute("SELECT * FROM interactions LIMIT 1").fetchone()
    sql.execute("DELETE FROM interactions WHERE id = ?", row[:1])
    await look(monitor, clock, 50)
    assert (await figures(monitor))["records_missing"] >= 1
    assert "is not in the database" in (await alerts(monitor))["records-damaged"].text
    marks = ", ".join("?" for _ in row)
    sql.execute(f"INSERT INTO interactions VALUES ({marks})", row)
    await look(monitor, clock)
    assert (await figures(monitor))["records_missing"] == 0
    assert await alerts(monitor) == {}


async def test_a_flipped_bit_is_found_and_forgotten_when_mended(
    monitor: RecordsMonitor, clock: ManualClock, folder: DataFolder, make_turn: MakeTurn
) -> None:
    pointers = [await monitor.records.append(make_turn(n)) for n in range(4)]
    path = folder.events / pointers[0].segment
    whole = path.read_bytes()
    at = pointers[2].offset + pointers[2].length // 2
    path.write_bytes(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :])
    await look(monitor, clock, 50)
    seen = await figures(monitor)
    assert seen["records_bad_pointers"] >= 1
    assert seen["records_missing"] == 0
    assert "cannot be read at its pointer" in (await alerts(monitor))["records-damaged"].text
    path.write_bytes(whole)
    await look(monitor, clock)
    assert await alerts(monitor) == {}


async def test_a_segment_that_is_gone_is_found(
    monitor: RecordsMonitor, clock: ManualClock, folder: DataFolder, make_turn: MakeTurn
) -> None:
    pointer = await monitor.records.append(make_turn())
    (folder.events / pointer.segment).unlink()
    await look(monitor, clock)
    assert (await figures(monitor))["records_bad_pointers"] == 1
    assert next(str(spot) for spot in monitor.probe.faults).startswith("turn ")
    assert str(Spot(None, "a.jsonl", 7)) == "a.jsonl at byte 7"


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
async def test_a_database_that_cannot_be_read_is_said(
    monitor: RecordsMonitor, clock: ManualClock, folder: DataFolder
) -> None:
    moved = folder.database.rename(folder.path / "elsewhere")
    folder.database.mkdir()
    monitor.records._reader._engine.dispose()  # or an open file would be read on
    await until(lambda: monitor.trouble is not None, clock)
    assert "cannot be looked at" in (await alerts(monitor))["records-unreadable"].text
    folder.database.rmdir()
    moved.rename(folder.database)
    await until(lambda: monitor.trouble is None, clock)
    assert await alerts(monitor) == {}
