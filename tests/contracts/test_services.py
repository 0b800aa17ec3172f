"""Suites of the services: clock, records, state, database, knowledge, scheduler, caller."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from attrs import define, evolve, field
from coe_records.plugin_database import PluginDatabase

from coe_core.caller import ModelCaller, ModelEmbedder
from coe_core.clock import SystemClock
from coe_core.ephemeral import NOWHERE, EphemeralRecords
from coe_core.knowledge import Indexed, PassageChanges, SearchQuery
from coe_core.model import Vectors
from coe_core.record import Interaction, Pointer
from coe_core.scaffold.kinds.knowledge_index import ExampleKnowledgeIndex
from coe_core.scheduler import JobScheduler
from coe_core.service import History, Versioned
from coe_core.state import SqliteStateStore
from coe_core.testing import (
    CallerContract,
    ClockContract,
    DatabaseContract,
    EmbedderContract,
    JournalContract,
    KnowledgeIndexContract,
    KnowledgeStoreContract,
    ManualClock,
    MemoryKnowledgeStore,
    MemoryStateStore,
    RecordReaderContract,
    SchedulerContract,
    SessionStoreContract,
    StandingDeployment,
    StateStoreContract,
)
from coe_core.testing.contracts.knowledge import LAYERS
from coe_core.testing.turn import scripted_application
from coe_core.turn import Passage

from .seeding import clings, fails, gives, proving, spoilt, yields

NOT_SHARED = {"test_has_a_lasting_name"}


def test_clock() -> None:
    async def passing(_: Any, clock: ManualClock, seconds: float) -> None:
        await clock.advance(seconds)

    with proving(ClockContract, ManualClock, exempt={*dir(ClockContract)}, passing=passing):
        pass


def test_system_clock() -> None:
    naive = lambda _: datetime.now()  # noqa: DTZ005, E731
    ticks = itertools.count(10**6, -1)
    past = itertools.count(0, -1)
    with proving(ClockContract, SystemClock, exempt=set()) as bug:
        bug("test_fulfils_the_contract", "'sleep' is not async", sleep=lambda *_: None)
        bug("test_tells_the_time_in_utc", "return datetime.now(UTC)", now=naive)
        back = lambda _: float(next(ticks))  # noqa: E731
        bug("test_never_goes_backwards", "monotonic_s() says", monotonic_s=back)
        ago = lambda _: datetime.now(UTC) + timedelta(days=next(past))  # noqa: E731
        bug("test_never_goes_backwards", "back to", now=ago)
        bug("test_does_not_wait_for_nothing", "negative", sleep=fails(AssertionError("negative")))
        bug("test_lets_sleepers_be_cancelled", "swallow it", sleep=clings())


class Forgetful(EphemeralRecords):
    """Keeps records, except where a test says otherwise."""


def test_journal() -> None:
    lengths = itertools.count(1)

    def elsewhere(*_: Any) -> Pointer:
        return Pointer(segment="s", offset=next(lengths), length=1, sha256="")

    async def again(_: Any, record: Any) -> Pointer:
        return elsewhere()

    async def meddle(_: Any, record: Any) -> Pointer:
        getattr(record, "params", {})["seen"] = True
        return elsewhere()

    at = Pointer(segment="s", offset=0, length=1, sha256="")
    with proving(JournalContract, EphemeralRecords) as bug:
        bug("test_points_to_what_it_wrote", "return a coe_core", append=gives(None))
        bug("test_points_to_what_it_wrote", "no segment", append=gives(evolve(at, segment="")))
        bug("test_points_to_what_it_wrote", "use attrs.evolve", append=meddle)
        bug("test_writes_a_turn_once", "one turn was written at", append=again)
        bug("test_gives_each_turn_its_own_place", "at one place", append=gives(at))
        bug("test_notes_an_intent_without_waiting", "a plain `def`", intend=lambda *_: at)
        bug("test_can_be_cancelled", "swallow it", append=clings(at))


def pair(**spoils: Any) -> Callable[[], Any]:
    """Make a journal together with what reads it, spoilt."""

    def make() -> Any:
        records = spoilt(EphemeralRecords, spoils)()
        return records, records

    return make


def test_record_reader() -> None:
    async def anybody_s(self: Any, group: str, turn_id: str) -> Any:
        found = (turn for (_, known), turn in self._turns.items() if known == turn_id)
        return next(found, None)

    async def shortened(self: Any, group: str, turn_id: str) -> Any:
        found = self._turns.get((group, turn_id))
        return found and evolve(found, answer=())

    async def newest_first(self: Any, group: Any, **window: Any) -> Any:
        listed = [turn async for turn in EphemeralRecords.interactions(self, group, **window)]
        for turn in reversed(listed):
            yield turn

    async def until_and_with(self: Any, group: Any, *, since: Any = None, until: Any = None) -> Any:
        until = until and until + timedelta(microseconds=1)
        async for turn in EphemeralRecords.interactions(self, group, since=since, until=until):
            yield turn

    async def after(self: Any, group: Any, *, since: Any = None, until: Any = None) -> Any:
        since = since and since + timedelta(microseconds=1)
        async for turn in EphemeralRecords.interactions(self, group, since=since, until=until):
            yield turn

    async def everybody_s(self: Any, group: Any, **window: Any) -> Any:
        async for turn in EphemeralRecords.interactions(self, None, **window):
            yield turn

    async def oldest(self: Any, group: Any, limit: int, *, since: Any = None) -> Any:
        turns = [turn async for turn in EphemeralRecords.interactions(self, group, since=since)]
        return turns[:limit]

    async def whenever(self: Any, group: Any, limit: int, *, since: Any = None) -> Any:
        return await EphemeralRecords.newest(self, group, limit)

    async def in_two_steps(self: Any, record: Any) -> Pointer:
        await EphemeralRecords.append(self, evolve(record, answer=()))
        await asyncio.sleep(0.001)
        return await EphemeralRecords.append(self, record)

    async def latest_first(self: Any, group: Any, **window: Any) -> Any:
        for said in reversed([f async for f in EphemeralRecords.feedback(self, group, **window)]):
            yield said

    async def anybody_s_feedback(self: Any, group: Any, **window: Any) -> Any:
        async for said in EphemeralRecords.feedback(self, None, **window):
            yield said

    async def unrated(self: Any, group: Any, **window: Any) -> Any:
        async for said in EphemeralRecords.feedback(self, group, **window):
            yield evolve(said, label="unrated")

    async def of_any_time(self: Any, group: Any, **_: Any) -> Any:
        async for said in EphemeralRecords.feedback(self, group):
            yield said

    async def until_any_time(self: Any, group: Any, *, since: Any = None, **_: Any) -> Any:
        async for said in EphemeralRecords.feedback(self, group, since=since):
            yield said

    async def turns_alone(self: Any, cursor: str = "", **_: Any) -> Any:
        async for stretch in EphemeralRecords.follow(self, cursor):
            turns = [each for each in stretch.records if isinstance(each, Interaction)]
            yield evolve(stretch, records=tuple(turns))

    async def from_the_beginning(self: Any, cursor: str = "", **_: Any) -> Any:
        async for stretch in EphemeralRecords.follow(self):
            yield stretch

    async def too_little(self: Any, cursor: str = "", *, without: Any = ()) -> Any:
        async for stretch in EphemeralRecords.follow(self, cursor):
            turns = [each for each in stretch.records if isinstance(each, Interaction)]
            yield evolve(stretch, records=tuple(evolve(each, attempts=()) for each in turns))

    async def nothing_new(self: Any, cursor: str = "", **_: Any) -> Any:
        async for stretch in EphemeralRecords.follow(self, cursor):
            if not cursor:
                yield stretch

    with proving(RecordReaderContract, pair(), exempt=set()) as bug:
        bug("test_can_be_followed", "wrote", pair(follow=turns_alone))
        bug("test_can_be_followed", "there was still", pair(follow=from_the_beginning))
        bug("test_can_be_followed", "behind the cursor", pair(follow=nothing_new))
        bug("test_can_be_followed_from_its_end", "behind the end", pair(end=gives("")))
        bug("test_can_be_followed_in_part", "was read", pair(follow=too_little))
        bug("test_lists_feedback", "oldest first", pair(feedback=latest_first))
        bug("test_lists_feedback", "listed was []", pair(feedback=yields()))
        bug("test_lists_feedback", "belongs {}", pair(feedback=anybody_s_feedback))
        bug("test_lists_feedback", "unrated", pair(feedback=unrated))
        bug("test_lists_a_window_of_feedback", "since <= at", pair(feedback=of_any_time))
        bug("test_lists_a_window_of_feedback", "at < until", pair(feedback=until_any_time))
        bug("test_fulfils_the_contract", "no RecordReader", lambda: (EphemeralRecords(), object()))
        bug("test_reads_back_what_was_written", "read", pair(interaction=shortened))
        bug("test_keeps_groups_apart", "another group's turn", pair(interaction=anybody_s))
        bug("test_tells_where_a_turn_lies", "elsewhere", pair(pointer=gives(None)))
        bug("test_tells_where_a_turn_lies", "another group", pair(pointer=gives(NOWHERE)))
        bug("test_keeps_groups_apart", "were listed", pair(interactions=everybody_s))
        bug("test_lists_by_start", "oldest first", pair(interactions=newest_first))
        bug("test_lists_by_start", "were listed", pair(interactions=yields()))
        bug("test_returns_the_newest", "were returned", pair(newest=oldest))
        bug("test_returns_the_newest", "were returned", pair(newest=whenever))
        bug("test_lists_a_window", "start < until", pair(interactions=until_and_with))
        bug("test_lists_a_window", "since <= start", pair(interactions=after))
        bug("test_holds_whole_turns_or_none", "after a cancellation", pair(append=in_two_steps))


def test_session_store() -> None:
    async def first(self: Any, group: str, session_id: str) -> Any:
        turns = [t.id for t in self._turns.values() if t.session == session_id]
        return turns[0] if turns else None

    async def of_anybody(self: Any, group: str, conversation: str) -> Any:
        found = (t for t in self._turns.values() if t.conversation == conversation)
        return next(found, None)

    async def head_of_anybody(self: Any, group: str, session_id: str) -> Any:
        return {session: turn for (_, session), turn in self._heads.items()}.get(session_id)

    async def oldest(self: Any, group: str, turn_id: str, *, limit: int) -> History:
        whole = await EphemeralRecords.history(self, group, turn_id, limit=1000)
        return History(messages=whole.messages[:limit])

    async def whole(self: Any, group: str, turn_id: str, *, limit: int) -> History:
        return await EphemeralRecords.history(self, group, turn_id, limit=1000)

    async def short(self: Any, group: str, turn_id: str, *, limit: int) -> History:
        return await EphemeralRecords.history(self, group, turn_id, limit=1)

    with proving(SessionStoreContract, pair()) as bug:
        bug("test_knows_the_newest_turn", "the newest turn is", pair(head=first))
        bug("test_knows_the_newest_turn", "before its turns", pair(head=gives("turn")))
        bug("test_finds_a_conversation", "found None", pair(find=gives(None)))
        bug("test_finds_a_conversation", "another group's conversation", pair(find=of_anybody))
        bug("test_finds_a_conversation", "another group's session", pair(head=head_of_anybody))
        bug("test_tells_the_history", "told", pair(history=oldest))
        bug("test_tells_the_history", "were asked for", pair(history=whole))
        bug("test_tells_the_history", "no summary", pair(history=short))


def test_state_store() -> None:
    async def overwrites(self: Any, key: str, value: Any, *, expect: int | None = None) -> Any:
        return await MemoryStateStore.put(self, key, value)

    async def counts_per_key(self: Any, key: str, value: Any, *, expect: Any = None) -> Any:
        version = (await self.get(key)).version + 1
        await MemoryStateStore.put(self, key, value, expect=expect)
        if value is not None:
            self._values[key] = Versioned(value=value, version=version)
        return await self.get(key)

    async def waits_between(self: Any, key: str, value: Any, *, expect: Any = None) -> Any:
        if expect is not None and (await self.get(key)).version != expect:
            return await MemoryStateStore.put(self, key, value, expect=expect)
        await asyncio.sleep(0)
        return await MemoryStateStore.put(self, key, value)

    async def keeps_null(self: Any, key: str, value: Any, *, expect: Any = None) -> Any:
        written = await MemoryStateStore.put(self, key, value or "", expect=expect)
        self._values[key] = evolve(written, value=value)
        return written

    async def contains(self: Any, prefix: str) -> Any:
        return {key: found for key, found in self._values.items() if key > prefix}

    async def once(self: Any, prefix: str) -> AsyncIterator[Any]:
        yield await self.list(prefix)
        await asyncio.sleep(3600)

    with proving(StateStoreContract, MemoryStateStore, examples=15) as bug:
        bug("test_remembers_what_was_written", "get() says", get=gives(Versioned()))
        bug("test_remembers_what_was_written", "0 means absent", put=keeps_null)
        bug("test_lists_by_prefix", "gave", list=contains)
        bug("test_gives_growing_versions", "came after", put=counts_per_key)
        bug("test_refuses_a_stale_write", "went through", put=overwrites)
        bug("test_lets_one_writer_win", "at once", put=waits_between)
        bug("test_tells_watchers", "was told nothing", watch=once)


def test_sqlite_state_store(tmp_path: Path) -> None:
    folders = itertools.count()

    def make() -> SqliteStateStore:
        return SqliteStateStore(tmp_path / str(next(folders)) / "state.sqlite", poll_s=0.001)

    with proving(StateStoreContract, make, exempt={*dir(StateStoreContract)}):
        pass


def test_database(tmp_path: Path) -> None:
    folders = itertools.count()

    class Fresh(PluginDatabase):
        def __init__(self) -> None:
            (folder := tmp_path / str(next(folders))).mkdir()
            super().__init__(folder)

    read, write, upgrade = PluginDatabase.read, PluginDatabase.write, PluginDatabase.upgrade

    async def rolls_back(self: Any, work: Any) -> Any:
        with suppress(ZeroDivisionError):
            await write(self, lambda connection: (work(connection), 1 // 0))

    async def returns_nothing(self: Any, work: Any) -> Any:
        await write(self, work)

    async def commits(self: Any, work: Any) -> Any:
        def spoilt(connection: Any) -> Any:
            try:
                return work(connection)
            finally:
                connection.commit()

        return await write(self, spoilt)

    async def swallows(self: Any, work: Any) -> Any:
        with suppress(LookupError):
            return await write(self, work)

    async def shows_all(self: Any, group: str | None, work: Any) -> Any:
        return await read(self, None, work)

    async def writes(self: Any, group: str | None, work: Any) -> Any:
        return await write(self, work)

    async def makes_anew(self: Any, plugin: str, scripts: str, *, head: str) -> None:
        await upgrade(self, plugin, scripts, head=head)
        await write(self, lambda connection: connection.exec_driver_sql("DELETE FROM kept"))

    with proving(DatabaseContract, Fresh) as bug:
        bug("test_commits_at_the_end", "write None", write=returns_nothing)
        bug("test_commits_at_the_end", "write None", write=rolls_back)
        bug("test_rolls_back_after_an_error", "left its rows", write=commits)
        bug("test_rolls_back_after_an_error", "swallowed the error", write=swallows)
        bug("test_shows_a_reader_its_group", "saw", read=shows_all)
        bug("test_keeps_readers_from_writing", "wrote", read=writes)
        bug("test_upgrades_once", "lost a row", upgrade=makes_anew)


def test_knowledge_store() -> None:
    store = MemoryKnowledgeStore

    async def of_every_layer(self: Any, layers: Any, **page: Any) -> Any:
        return await store.items(self, LAYERS, **page)

    async def anybody_s(self: Any, layers: Any, item_id: str) -> Any:
        return await store.item(self, LAYERS, item_id)

    async def all_at_once(self: Any, layers: Any, **page: Any) -> Any:
        return await store.items(self, layers)

    async def with_the_last(self: Any, layers: Any, *, after: str = "", limit: int = 1000) -> Any:
        if not after:
            return await store.items(self, layers, limit=limit)
        return [each for each in await store.items(self, layers) if each.id >= after][:limit]

    async def keeps_the_rest(self: Any, document: Any, passages: Any) -> None:
        old = self._passages.get(document.id, {}).values()
        ids = {passage.id for passage in passages}
        await store.put_document(self, document, [*passages, *(p for p in old if p.id not in ids)])

    async def unordered(self: Any, layers: Any, ids: Any) -> Any:
        return await store.passages(self, layers, sorted(ids))

    async def passages_of_all(self: Any, layers: Any, ids: Any) -> Any:
        return await store.passages(self, LAYERS, ids)

    async def next_too(self: Any, layers: Any, item_id: str, first: int, last: int) -> Any:
        return await store.neighbours(self, layers, item_id, first, last + 1)

    async def for_anybody(self: Any, layers: Any, item_id: str) -> Any:
        return await store.remove(self, LAYERS, item_id)

    async def leaves_passages(self: Any, layers: Any, item_id: str) -> Any:
        if await store.item(self, layers, item_id) is None:
            return False
        del self._items[item_id]
        return True

    async def whatever_state(self: Any, cursor: str = "", **_: Any) -> Any:
        found = tuple(p for of_item in self._passages.values() for p in of_item.values())
        if not cursor:
            yield PassageChanges(put=found, cursor=f"{self._id}:{len(self._log)}")

    async def from_the_beginning(self: Any, cursor: str = "", **_: Any) -> Any:
        async for changes in store.follow(self):
            yield changes

    async def forgets_removals(self: Any, cursor: str = "", **_: Any) -> Any:
        async for changes in store.follow(self, cursor):
            yield evolve(changes, removed=())

    async def any_cursor(self: Any, cursor: str = "", **_: Any) -> Any:
        known = f"{self._id}:{cursor.partition(':')[2]}" if cursor else ""
        async for changes in store.follow(self, known):
            yield changes

    with proving(KnowledgeStoreContract, store, examples=25) as bug:
        bug("test_returns_the_items_of_the_layers", "found", items=of_every_layer)
        bug("test_returns_the_items_of_the_layers", "got", item=anybody_s)
        bug("test_pages", "at most", items=all_at_once)
        bug("test_pages", "page by page", items=with_the_last)
        bug("test_replaces_an_item", "was replaced, and has", put_document=keeps_the_rest)
        gives_passages = "test_gives_passages_of_the_layers"
        bug(gives_passages, "found", passages=unordered)
        bug(gives_passages, "found", passages=passages_of_all)
        bug(gives_passages, "found", neighbours=next_too)
        bug("test_removes_within_the_layers", "said True", remove=for_anybody)
        bug("test_removes_within_the_layers", "are left in", remove=leaves_passages)
        bug("test_can_be_followed", "from step to step", follow=whatever_state)
        bug("test_can_be_followed", "nothing changed", follow=from_the_beginning)
        bug("test_can_be_followed", "from step to step", follow=forgets_removals)
        bug("test_refuses_the_cursor_of_another", "of another store", follow=any_cursor)


def test_knowledge_index() -> None:
    index = ExampleKnowledgeIndex

    def spoil(**members: Any) -> Callable[[], Any]:
        return lambda: type("Spoilt", (index,), members)

    def searching(change: Callable[[SearchQuery, list[Passage]], Any]) -> Callable[[], Any]:
        async def search(self: Any, query: SearchQuery, *, parent: Any) -> Any:
            return change(query, list(await index.search(self, query, parent=parent)))

        return spoil(search=search)

    async def of_all(self: Any, query: SearchQuery, *, parent: Any) -> Any:
        every = evolve(query, layers=("global", "group:research", "group:support"))
        return await index.search(self, every, parent=parent)

    async def many(self: Any, query: SearchQuery, *, parent: Any) -> Any:
        every = evolve(query, global_topk=9, group_topk=9)
        return await index.search(self, every, parent=parent)

    async def unfiltered(self: Any, query: SearchQuery, *, parent: Any) -> Any:
        return await index.search(self, evolve(query, kinds=()), parent=parent)

    async def counting_all(self: Any, query: SearchQuery, *, parent: Any) -> Any:
        found = await index.search(self, query, parent=parent)
        return [evolve(passage, score=passage.score / len(self.known)) for passage in found]

    async def backwards(self: Any) -> Any:
        yield Indexed(done=1, total=1)
        yield Indexed(done=0, total=1)

    async def empties(self: Any) -> Any:
        self.known = {}
        yield Indexed(done=0, total=0)

    async def once(self: Any) -> None:
        if not self.cursor:
            await index.catch_up(self)

    with proving(KnowledgeIndexContract, lambda: index, examples=12) as bug:
        finds, within = "test_finds_what_was_put", "test_stays_within_the_query"
        bug(finds, "its own words find", searching(lambda _, found: []))
        bug(finds, "gives no reason", searching(lambda _, f: [evolve(p, reason="") for p in f]))
        bug(finds, "put Passage", searching(lambda _, f: [evolve(p, title="Other") for p in f]))
        bug(finds, "is still found", spoil(catch_up=once))
        bug(within, "found a passage of", spoil(search=of_all))
        bug(within, "were asked for", spoil(search=many))
        bug(within, "and found", spoil(search=unfiltered))
        bug("test_shows_nothing_of_other_layers", "another group put", spoil(search=counting_all))
        bug("test_can_be_rebuilt", "it went backwards", spoil(rebuild=backwards))
        bug("test_can_be_rebuilt", "once rebuilt", spoil(rebuild=empties))
        bug("test_can_be_rebuilt", "nothing was told", spoil(rebuild=yields()))
        bug("test_lets_itself_be_cancelled", "swallow it", spoil(search=clings(["found"])))


@define
class Tasks:
    """Runs jobs as tasks of this process."""

    tasks: set[asyncio.Task[Any]] = field(factory=set, init=False)

    async def submit(self, job: Any, *, at: datetime | None = None) -> None:
        self.tasks.add(asyncio.create_task(self.run(job, at)))

    async def run(self, job: Any, at: datetime | None) -> None:
        if at is not None:
            await asyncio.sleep((at - datetime.now(UTC)).total_seconds())
        try:
            await job.run()
        except LookupError:
            return

    async def close(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


def test_scheduler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("coe_core.testing.contracts.scheduler.SOON_S", 0.05)

    async def twice(_: Any, job: Any, at: Any) -> None:
        await job.run()
        await job.run()

    async def at_once(_: Any, job: Any, at: Any) -> None:
        await job.run()

    @define
    class Stopping(Tasks):
        async def submit(self, job: Any, *, at: datetime | None = None) -> None:
            if not self.tasks:
                await Tasks.submit(self, job, at=at)

    with proving(SchedulerContract, Tasks) as bug:
        bug("test_runs_a_job_once", "ran 2 times", run=twice)
        bug("test_runs_a_job_once", "did not run within", submit=gives(None))
        bug("test_waits_until_the_time", "ran today", run=at_once)
        bug("test_survives_a_job_that_fails", "did not run within", Stopping)


def test_engine_s_scheduler() -> None:
    def make() -> JobScheduler:
        return JobScheduler(StandingDeployment(scripted_application()), SystemClock())

    with proving(SchedulerContract, make, exempt={*dir(SchedulerContract)}):
        pass


def test_caller() -> None:
    def make() -> ModelCaller:
        return ModelCaller(SystemClock())

    class Silent(ModelCaller):
        """Calls, and books nothing."""

        async def complete(self, model: str, request: Any, **told: Any) -> Any:
            async for chunk in ModelCaller.complete(self, model, request, **told):
                yield chunk
            told["parent"].ledger.attempts.clear()

        async def embed(self, model: str, request: Any, **told: Any) -> Vectors:
            vectors = await ModelCaller.embed(self, model, request, **told)
            told["parent"].ledger.attempts.clear()
            return vectors

    class Late(ModelCaller):
        """Books a call when it has been read to its end."""

        async def complete(self, model: str, request: Any, **told: Any) -> Any:
            provider = told["parent"].application.model_providers["scripted"]
            async for chunk in provider.complete(None, request, group="default"):
                yield chunk

    silent, late = (lambda: Silent(SystemClock())), (lambda: Late(SystemClock()))
    with proving(CallerContract, make) as bug:
        bug("test_books_each_call", "the ledger has []", silent)
        bug("test_books_a_call_that_was_left", "not one cancelled call", late)
        bug("test_knows_its_models", "an unknown model was called", late)
        bug("test_embeds_and_books", "the ledger has []", silent)


def test_embedder() -> None:
    class Embedding(ModelEmbedder):
        def __init__(self) -> None:
            super().__init__("scripted-embed", ModelCaller(SystemClock()))

    async def shuffles(_: Any, texts: Any, **told: Any) -> Vectors:
        return Vectors.of([[float(n)] for n, _ in enumerate(texts)])

    async def widens(_: Any, texts: Any, *, purpose: str, parent: Any) -> Vectors:
        return Vectors.of([[1.0] * len(purpose) for _ in texts])

    with proving(EmbedderContract, Embedding) as bug:
        bug("test_embeds_each_text", "each gets one", embed=gives(Vectors.of([])))
        bug("test_embeds_each_text", "the reverse", embed=shuffles)
        bug("test_has_one_width", "a query has", embed=widens)
