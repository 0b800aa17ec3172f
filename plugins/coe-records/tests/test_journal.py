import asyncio
import os
import resource
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from decimal import Decimal
from errno import ENOSPC
from functools import partial
from hashlib import sha256
from pathlib import Path
from threading import Event, get_ident
from typing import Any

import pytest
from attrs import evolve
from coe_records.audit import audit
from coe_records.disk import Disk
from coe_records.envelope import parse
from coe_records.folder import DataFolder
from coe_records.intent import COMPACT_BYTES, IntentFile, read_intents
from coe_records.journal import LOOP_BYTES, LOOP_ROWS, LOOP_TURNS, GroupJournal
from coe_records.lock import try_lock_path
from coe_records.reader import PAGE_RECORDS, Reader
from coe_records.records import Records
from coe_records.writer import Draft, Writer
from loguru import logger

from coe_core.error import Conflict, RecordDamaged, Unavailable
from coe_core.identity import AttemptId, SessionId, TurnId, uuid7
from coe_core.ledger import Intent
from coe_core.message import assistant, user
from coe_core.model import Usage
from coe_core.outage import Outage
from coe_core.record import Feedback, Interaction, StateChange
from coe_core.settings import Secret
from coe_core.testing.clock import EPOCH, ManualClock

Lose = Callable[[DataFolder], None]
SecretOf = Callable[[DataFolder], Secret | None]
MakeTurn = Callable[..., Interaction]


class CountingDisk(Disk):
    def __init__(self) -> None:
        self.writes = self.syncs = 0

    def write(self, fd: int, text: bytes | memoryview) -> int:
        self.writes += 1
        return super().write(fd, text)

    def sync(self, fd: int) -> None:
        self.syncs += 1
        super().sync(fd)


@asynccontextmanager
async def journal_on(
    folder: DataFolder, open_writer: Callable[..., Writer], **options: Any
) -> AsyncIterator[GroupJournal]:
    journal = GroupJournal(folder, lambda: open_writer(folder, **options))
    await journal.open()
    yield journal
    await journal.close()


@pytest.fixture
async def records(folder: DataFolder, secret: SecretOf) -> AsyncIterator[Records]:
    records = Records(folder.path, ManualClock(), 1 << 20, secret(folder))
    await records.open()
    yield records
    await records.close()


def intent(attempt: str = "a1", **fields: Any) -> Intent:
    values: dict[str, Any] = {
        "attempt_id": AttemptId(attempt),
        "owner_id": "t1",
        "group": "research",
        "model": "small",
        "purpose": "chat",
        "reserved_usd": Decimal("0.25"),
        "at": EPOCH,
    }
    return Intent(**values | fields)


async def test_turns_that_wait_share_one_write_and_one_sync(
    folder: DataFolder, open_writer: Callable[..., Writer], make_turn: MakeTurn
) -> None:
    disk = CountingDisk()
    async with journal_on(folder, open_writer, disk=disk) as journal:
        await asyncio.gather(*(journal.append(make_turn(n)) for n in range(50)))
    assert disk.writes == disk.syncs == 1


async def test_those_just_answered_join_the_next_group(
    folder: DataFolder, open_writer: Callable[..., Writer], make_turn: MakeTurn
) -> None:
    """Else the groups of busy sessions would be large and tiny by turns."""
    disk = CountingDisk()

    async def session(journal: GroupJournal) -> None:
        for number in range(5):
            await journal.append(make_turn(number))

    async with journal_on(folder, open_writer, disk=disk) as journal:
        await asyncio.gather(*(session(journal) for _ in range(20)))
    assert disk.syncs == 5


class NotingDisk(CountingDisk):
    """Notes which threads write."""

    def __init__(self) -> None:
        super().__init__()
        self.writers: list[int] = []

    def write(self, fd: int, text: bytes | memoryview) -> int:
        self.writers.append(get_ident())
        return super().write(fd, text)


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
class TestOnTheLoop:
    """Where statements cost less than handing them over."""

    @pytest.fixture(autouse=True)
    def warm(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """What the loop reads here is no concern."""
        monkeypatch.setattr("coe_records.journal.COLD_S", 0.0)

    async def test_are_groups_that_are_little_work(
        self, folder: DataFolder, open_writer: Callable[..., Writer], make_turn: MakeTurn
    ) -> None:
        disk = NotingDisk()
        here = get_ident()
        async with journal_on(folder, open_writer, disk=disk) as journal:
            await asyncio.gather(*(journal.append(make_turn(n)) for n in range(3 * LOOP_TURNS)))
            assert disk.writers == [here] * 3
            disk.writers.clear()
            await journal.append(make_turn(answer=(assistant("x" * LOOP_BYTES),)))
            await journal.append(make_turn(answer=(assistant("x"),) * LOOP_ROWS))
            assert here not in disk.writers

    async def test_goes_on_while_another_process_has_the_log_or_the_database(
        self, folder: DataFolder, open_writer: Callable[..., Writer], make_turn: MakeTurn
    ) -> None:
        disk = NotingDisk()
        async with journal_on(folder, open_writer, disk=disk) as journal:
            await journal.append(make_turn())
            disk.writers.clear()
            lock = try_lock_path(folder.lock)
            assert lock is not None
            waiting = asyncio.create_task(journal.append(make_turn(1)))
            await asyncio.sleep(0.05)
            assert not waiting.done()
            os.close(lock)
            await waiting
            with closing(folder.tables.connect()) as connection:
                connection.begin()
                waiting = asyncio.create_task(journal.append(make_turn(2)))
                await asyncio.sleep(0.05)
                assert not waiting.done()
                connection.execute("ROLLBACK")
                await waiting
            assert disk.writers == [get_ident()] * 2
        assert (audit(folder).records, audit(folder).faults) == (3, ())

    async def test_writes_whole_groups_when_all_is_cancelled(
        self, folder: DataFolder, open_writer: Callable[..., Writer], make_turn: MakeTurn
    ) -> None:
        """As `asyncio.run` does at its end: the log may not be ahead of the database."""
        syncing, go_on = asyncio.Event(), Event()
        loop = asyncio.get_running_loop()

        class SlowDisk(Disk):
            def sync(self, fd: int) -> None:
                loop.call_soon_threadsafe(syncing.set)
                go_on.wait()
                super().sync(fd)

        async with journal_on(folder, open_writer) as journal:
            await journal.append(make_turn())
        async with journal_on(folder, open_writer, disk=SlowDisk()) as journal:
            waiting = asyncio.create_task(journal.append(make_turn(1)))
            await syncing.wait()
            ours = asyncio.all_tasks() - {asyncio.current_task()}
            for task in ours:
                task.cancel()
            await asyncio.sleep(0.01)
            go_on.set()
            await asyncio.wait(ours)
            assert waiting.cancelled()
            await journal.append(make_turn(2))
        assert (audit(folder).records, audit(folder).faults) == (3, ())

    async def test_write_ahead_log_does_not_grow_beside_readers_and_short_lived_writers(
        self,
        folder: DataFolder,
        open_writer: Callable[..., Writer],
        make_turn: MakeTurn,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr("coe_records.writer.TIDY_BYTES", 1 << 20)
        wal = folder.database.with_name(f"{folder.database.name}-wal")
        is_over = Event()

        def somewhere() -> Interaction:
            """Make a turn that goes anywhere into the index of conversations."""
            return make_turn(conversation=os.urandom(32).hex())

        def read() -> None:
            with closing(folder.tables.connect(writable=False)) as connection:
                while not is_over.is_set():
                    connection.begin_reading()
                    connection.execute("SELECT count(*) FROM interactions").fetchall()
                    is_over.wait(0.005)
                    connection.execute("COMMIT")

        def write() -> None:
            with closing(open_writer(folder)) as writer:
                writer.commit([Draft.of(somewhere()) for _ in range(20)])

        async with journal_on(folder, open_writer) as journal:
            reading = [asyncio.create_task(asyncio.to_thread(read)) for _ in range(2)]
            for _ in range(40):
                await asyncio.gather(*(journal.append(somewhere()) for _ in range(50)))
            is_over.set()
            await asyncio.gather(*reading)
            for _ in range(40):
                await asyncio.to_thread(write)
            assert wal.stat().st_size < 4 << 20

    async def test_no_sync_is_waited_for(
        self,
        folder: DataFolder,
        open_writer: Callable[..., Writer],
        make_turn: MakeTurn,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """SQLite has one of its own after each time that the write-ahead log began anew."""
        monkeypatch.setattr("coe_records.writer.TIDY_BYTES", 1 << 20)
        committing = list[int]()

        async with journal_on(folder, open_writer) as journal:
            assert journal._writer is not None
            connection = journal._writer._projection.connection
            connection.set_trace_callback(
                lambda text: committing.append(get_ident()) if text == "COMMIT" else None
            )
            for _ in range(6):
                await asyncio.gather(*(journal.append(make_turn(n)) for n in range(LOOP_TURNS)))
            connection.set_trace_callback(None)
        here = get_ident()
        assert [thread == here for thread in committing] == [False, True] * 3


async def test_groups_leave_the_loop_for_a_while_when_it_had_to_read_from_the_disk(
    tmp_path: Path,
    open_writer: Callable[..., Writer],
    make_turn: MakeTurn,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("coe_records.journal.COLD_BYTES", 0)
    folder, disk = DataFolder(tmp_path), NotingDisk()

    def somewhere() -> Interaction:
        """Make a turn that goes anywhere into the index of conversations."""
        return make_turn(conversation=os.urandom(32).hex())

    with closing(open_writer(folder)) as writer:
        writer.commit([Draft.of(somewhere()) for _ in range(3000)])
    database = os.open(folder.database, os.O_RDONLY)
    async with journal_on(folder, open_writer, disk=disk) as journal:
        await journal.append(somewhere())
        if not is_cold(database):
            pytest.skip("the system does not tell here what is read from a disk")
        disk.writers.clear()
        await asyncio.gather(*(journal.append(somewhere()) for _ in range(LOOP_TURNS)))
        await journal.append(somewhere())
        assert disk.writers[0] == get_ident() != disk.writers[1]
    os.close(database)


def is_cold(fd: int) -> bool:
    """Have the system forget what it has of a file in memory; tell if it says what it reads."""
    before = resource.getrusage(resource.RUSAGE_THREAD).ru_inblock
    os.fsync(fd)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    os.pread(fd, 1, 0)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    return resource.getrusage(resource.RUSAGE_THREAD).ru_inblock > before


async def test_line_lies_where_the_pointer_says(
    records: Records, folder: DataFolder, make_turn: MakeTurn
) -> None:
    pointers = [await records.append(make_turn(n)) for n in range(3)]
    assert {p.segment for p in pointers} == {"2026-11-01/interactions.jsonl"}
    raw = (folder.events / pointers[0].segment).read_bytes()
    lines = [raw[p.offset : p.offset + p.length] for p in pointers]
    assert b"".join(lines) == raw
    assert [parse(line).seq for line in lines] == [1, 2, 3]
    assert [sha256(line).hexdigest() for line in lines] == [p.sha256 for p in pointers]


async def test_other_records_are_kept_too(records: Records, folder: DataFolder) -> None:
    change = StateChange(key="toggles/plugins/x", value=False, actor="me", at=EPOCH)
    first, second = await records.append(change), await records.append(change)
    assert first != second
    assert audit(folder).records == 2


async def test_turn_that_cannot_be_written_spoils_no_other(
    records: Records, make_turn: MakeTurn
) -> None:
    good = [make_turn(n) for n in range(4)]
    (attempt,) = good[0].attempts
    too_many = evolve(attempt, usage=Usage(input_tokens=10**17 * 10**3))
    surrogate = evolve(make_turn(), new_messages=(user("\ud800"),))
    bad = [evolve(make_turn(), attempts=(too_many,)), surrogate]
    results = await asyncio.gather(
        *(records.append(turn) for turn in (*good[:2], *bad, *good[2:])), return_exceptions=True
    )
    assert [isinstance(r, Exception) for r in results] == [False, False, True, True, False, False]
    for turn in good:
        assert await records.interaction("research", turn.id) == turn
    for turn in bad:
        assert await records.interaction("research", turn.id) is None


async def test_append_that_is_cancelled_is_written_nevertheless(
    records: Records, make_turn: MakeTurn
) -> None:
    turn = make_turn()
    waiting = asyncio.create_task(records.append(turn))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await records.append(make_turn(1))
    assert await records.interaction("research", turn.id) == turn


async def test_closing_writes_what_waits(
    folder: DataFolder, make_turn: MakeTurn, secret: SecretOf
) -> None:
    records = Records(folder.path, ManualClock(), 1 << 20, secret(folder))
    await records.open()
    waiting = [asyncio.create_task(records.append(make_turn(n))) for n in range(5)]
    await asyncio.sleep(0)
    await records.close()
    await asyncio.gather(*waiting)
    assert audit(folder).records == 5


async def test_folder_that_cannot_be_used_is_refused_turn_by_turn(
    tmp_path: Path, make_turn: MakeTurn
) -> None:
    """It does not keep the server from starting, which goes on by itself once it can."""
    obstacle = tmp_path / "events"
    obstacle.write_text("a file where the folder should be")
    records = Records(tmp_path, ManualClock(), 1 << 20)
    await records.open()
    records.intend(intent())
    with pytest.raises(Unavailable, match="cannot be used"):
        await records.append(make_turn())
    obstacle.unlink()
    turn = make_turn()
    await records.append(turn)
    assert await records.interaction("research", turn.id) == turn
    await records.close()


class SmallDisk(Disk):
    """Has room for little, while it is small."""

    is_small = True

    def write(self, fd: int, text: bytes | memoryview) -> int:
        if self.is_small and len(text) > 100_000:
            raise OSError(ENOSPC, os.strerror(ENOSPC))
        return super().write(fd, text)


async def test_refusal_ends_without_turns_once_there_is_room(
    folder: DataFolder, open_writer: Callable[..., Writer], make_turn: MakeTurn
) -> None:
    disk = SmallDisk()
    async with journal_on(folder, open_writer, disk=disk) as journal:
        await journal.append(make_turn())
        with pytest.raises(Unavailable, match="No space left"):
            await journal.append(make_turn(1, answer=(assistant("x" * 200_000),)))
        before = {path: path.read_bytes() for path in folder.events.rglob("*") if path.is_file()}
        await journal.try_again()
        assert "No space left" in str(journal.refusal)
        disk.is_small = False
        await journal.try_again()
        assert journal.refusal is None
        after = {path: path.read_bytes() for path in folder.events.rglob("*") if path.is_file()}
        assert after == before
        await journal.append(make_turn(2))
    report = audit(folder)
    assert (report.records, report.faults) == (2, ())


async def test_log_is_told_when_refusals_begin_and_end(
    folder: DataFolder, make_turn: MakeTurn
) -> None:
    told: list[str] = []
    clock = ManualClock()
    outage = Outage("refused", "taken", clock.monotonic_s)
    sink = logger.add(lambda message: told.append(message.record["message"]))
    options: dict[str, Any] = {"disk": SmallDisk(), "segment_bytes": 1 << 20, "outage": outage}
    async with journal_on(folder, partial(Writer.open, clock=clock), **options) as journal:
        for _ in range(20):
            with pytest.raises(Unavailable):
                await journal.append(make_turn(answer=(assistant("x" * 200_000),)))
            await journal.append(make_turn())
        for number in range(3):
            await clock.advance(2)
            await journal.append(make_turn(number))
    logger.remove(sink)
    assert told == ["refused", "taken"]


@pytest.mark.parametrize("server", [None, "postgresql://nobody@127.0.0.1:1/none"])
async def test_clients_are_not_told_where_the_database_is(
    tmp_path: Path, server: str | None
) -> None:
    told: list[str] = []
    sink = logger.add(told.append, format="{message} {extra}")
    reader = Reader(DataFolder(tmp_path / "gone", server))
    await reader.open()
    with pytest.raises(Unavailable, match="^the database cannot be read: ") as refused:
        await reader.interaction("research", TurnId("t1"))
    await reader.close()
    logger.remove(sink)
    place = str(tmp_path) if server is None else "127.0.0.1"
    assert place not in refused.value.message
    (line,) = told
    assert place in line


async def test_segment_follows_when_the_day_or_the_size_is_over(
    folder: DataFolder, open_writer: Callable[..., Writer], make_turn: MakeTurn
) -> None:
    clock = ManualClock()
    async with journal_on(folder, open_writer, clock=clock, segment_bytes=2000) as journal:
        segments = [(await journal.append(make_turn(n))).segment for n in range(4)]
        await clock.advance(86_400)
        segments.append((await journal.append(make_turn(4))).segment)
        await clock.advance(-86_400)
        segments.append((await journal.append(make_turn(5))).segment)
    assert segments == [
        "2026-11-01/interactions.jsonl",
        "2026-11-01/interactions.jsonl",
        "2026-11-01/interactions.w1.1.jsonl",
        "2026-11-01/interactions.w1.1.jsonl",
        "2026-11-02/interactions.jsonl",
        "2026-11-01/interactions.w1.2.jsonl",
    ]
    assert audit(folder).faults == ()


async def test_next_process_goes_on_with_chain_and_segment(
    folder: DataFolder, open_writer: Callable[..., Writer], make_turn: MakeTurn
) -> None:
    for number in range(3):
        async with journal_on(folder, open_writer) as journal:
            pointer = await journal.append(make_turn(number))
    assert pointer.segment == "2026-11-01/interactions.jsonl"
    assert (audit(folder).segments, audit(folder).faults) == (1, ())


async def test_second_process_writes_beside_the_first(
    folder: DataFolder, open_writer: Callable[..., Writer], make_turn: MakeTurn
) -> None:
    async with (
        journal_on(folder, open_writer) as first,
        journal_on(folder, open_writer) as second,
    ):
        turns = [make_turn(n) for n in range(40)]
        ours, theirs = await asyncio.gather(
            asyncio.gather(*map(first.append, turns[:25])),
            asyncio.gather(*map(second.append, turns[15:])),
        )
    assert ours[15:] == theirs[:10], "a turn that both were given is written once"
    names = {"2026-11-01/interactions.jsonl", "2026-11-01/interactions.w2.1.jsonl"}
    assert {p.segment for p in (*ours, *theirs)} <= names | {"2026-11-01/interactions.w1.1.jsonl"}
    assert (audit(folder).records, audit(folder).faults) == (40, ())


async def test_history_costs_what_is_asked_for(records: Records, make_turn: MakeTurn) -> None:
    previous = None
    turns = []
    for number in range(300):
        turns.append(make_turn(number, follows=previous))
        previous = turns[-1].id
    await asyncio.gather(*map(records.append, turns))
    history = await records.history("research", turns[-1].id, limit=5)
    said = [message.text for message in history.messages]
    expected = ["answer 297", "질문 298", "answer 298", "질문 299", "answer 299"]
    assert said == expected
    whole = await records.history("research", turns[-1].id, limit=1000)
    assert len(whole.messages) == 600
    assert await records.history("support", turns[-1].id, limit=5) == evolve(history, messages=())


async def test_lists_go_on_from_page_to_page(records: Records, make_turn: MakeTurn) -> None:
    """Where a page ends between records of one time, too."""
    turns = [make_turn(n // 7, attempts=0) for n in range(2 * PAGE_RECORDS + 5)]
    said = [
        Feedback(id=uuid7(), turn_id=t.id, group=t.group, rating=1, actor="k", at=t.started_at)
        for t in turns
    ]
    await asyncio.gather(*(records.append(record) for record in (*turns, *said)))
    turns.sort(key=lambda turn: (turn.started_at, turn.id))
    said.sort(key=lambda each: (each.at, each.id))
    assert [turn async for turn in records.interactions(None)] == turns
    assert [each async for each in records.feedback("research")] == said
    assert [each async for each in records.feedback("support")] == []


async def test_circle_of_turns_has_an_end(records: Records, make_turn: MakeTurn) -> None:
    """A forged or damaged link may not hang a request."""
    empty: dict[str, Any] = {"new_messages": (), "answer": ()}
    await records.append(make_turn(id=TurnId("a"), follows=TurnId("b"), **empty))
    await records.append(make_turn(id=TurnId("b"), follows=TurnId("a"), **empty))
    assert (await records.history("research", TurnId("a"), limit=50)).messages == ()


async def test_head_is_not_hidden_by_a_clock_set_back(
    records: Records, make_turn: MakeTurn
) -> None:
    first = make_turn(90_000)
    second = make_turn(1, follows=first.id)
    await records.append(first)
    await records.append(second)
    assert await records.head("research", SessionId("s1")) == second.id


async def test_conversations_of_like_key_are_told_apart(
    records: Records, make_turn: MakeTurn
) -> None:
    """The index holds the beginning of a digest only."""
    first = make_turn(0, conversation="ab" * 8 + "0" * 48)
    second = make_turn(1, conversation="ab" * 8 + "1" * 48)
    await records.append(first)
    await records.append(second)
    assert await records.find("research", first.conversation) == first
    assert await records.find("research", second.conversation) == second
    assert await records.find("research", "ab" * 8 + "2" * 48) is None


async def test_reader_checks_what_it_reads(
    records: Records, folder: DataFolder, make_turn: MakeTurn
) -> None:
    turn = make_turn(answer=(assistant("the capital is Seoul"),))
    pointer = await records.append(turn)
    path = folder.events / pointer.segment
    path.write_bytes(path.read_bytes().replace(b"Seoul", b"Busan"))
    if folder.server is not None:  # It has a copy of the line, and that is whole.
        assert await records.interaction("research", turn.id) == turn
        with closing(folder.tables.connect()) as connection:
            connection.execute("UPDATE lines SET line = ''")
    with pytest.raises(RecordDamaged, match="coe records verify"):
        await records.interaction("research", turn.id)


class TestIntents:
    async def test_are_with_the_kernel_at_once(self, records: Records, folder: DataFolder) -> None:
        records.intend(intent())
        assert read_intents(folder.intents("w1")) == [intent()]

    async def test_file_does_not_grow_with_attempts_that_ended(
        self, records: Records, folder: DataFolder, make_turn: MakeTurn
    ) -> None:
        open_one = intent("never-ends")
        records.intend(open_one)
        for number in range(8):
            turn = make_turn(number, attempts=1000)
            for attempt in turn.attempts:
                records.intend(intent(attempt.id, owner_id=turn.id))
            await records.append(turn)
        path = folder.intents("w1")
        assert path.stat().st_size < 1.1 * COMPACT_BYTES
        assert open_one in read_intents(path)

    @pytest.mark.parametrize("line", [b'{"attempt_id":"a', b'{"attempt_id":1}', b"\xff"])
    def test_line_that_is_none_is_passed_over(self, tmp_path: Path, line: bytes) -> None:
        path = tmp_path / "intents.jsonl"
        path.write_bytes(line + b"\n")
        assert read_intents(path) == []

    def test_that_finds_no_room_is_refused_and_spoils_no_other(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The kernel writes as much as there is room for."""
        file = IntentFile(tmp_path / "intents.jsonl")
        write = os.write
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", lambda fd, text: write(fd, text[:50]))
            with pytest.raises(OSError, match="No space left"):
                file.add(intent("refused"))
        file.add(intent("noted"))
        file.close()
        assert read_intents(tmp_path / "intents.jsonl") == [intent("noted")]

    async def test_that_cannot_be_noted_refuses_the_turn(
        self, records: Records, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(os, "write", lambda fd, text: 0)
        with pytest.raises(Unavailable, match="No space left"):
            records.intend(intent())


async def test_database_that_is_gone_is_said_so(
    records: Records, folder: DataFolder, lose_database: Lose
) -> None:
    lose_database(folder)
    with pytest.raises(Unavailable, match="cannot be read"):
        await records.head("research", SessionId("s1"))


async def test_followers_read_each_writer_s_records_once_across_segments_and_crashes(
    folder: DataFolder, open_writer: Callable[..., Writer], make_turn: MakeTurn
) -> None:
    """Also what was in no database yet when they began."""
    turns = [make_turn(n) for n in range(30)]
    async with (
        journal_on(folder, open_writer, segment_bytes=2000) as first,
        journal_on(folder, open_writer, segment_bytes=2000) as second,
    ):
        reader = Reader(folder)
        await reader.open()
        found: list[str] = []
        cursor = ""
        for number, turn in enumerate(turns):
            await (first, second)[number % 3 == 0].append(turn)
            if number % 7 == 6:
                async for stretch in reader.follow(cursor):
                    found += [r.id for r in stretch.records if isinstance(r, Interaction)]
                    cursor = stretch.cursor
        async for stretch in reader.follow(cursor):
            found += [r.id for r in stretch.records if isinstance(r, Interaction)]
        await reader.close()
    ids = [turn.id for turn in turns]
    assert sorted(found) == sorted(ids)
    theirs = ids[::3]
    assert [id_ for id_ in found if id_ in theirs] == theirs


async def test_a_cursor_of_another_log_is_refused(records: Records, make_turn: MakeTurn) -> None:
    with pytest.raises(Conflict, match="begin again"):
        async for _ in records.follow('{"2026-11-01/interactions.jsonl":99}'):
            pass
