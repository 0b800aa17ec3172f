"""Summaries: each adds the turns that follow those of the one that it extends, once."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from attrs import define, evolve, field
from coe_records.audit import audit
from coe_records.delta import deltas, is_long
from coe_records.extract import ExtractiveSummarizer, summary
from coe_records.folder import DataFolder
from coe_records.plugin import RecordsPlugin
from coe_records.rebuild import rebuild
from coe_records.records import Records
from coe_records.repair import repair
from coe_records.settings import Settings
from coe_records.summaries import SummaryKeeper
from coe_records.summarizer import EmptySummary, ModelSummarizer
from hypothesis import given, settings
from hypothesis import strategies as st

from coe_core.access import LOCAL
from coe_core.admission import Ask
from coe_core.application import Application
from coe_core.caller import ModelCaller, estimate_tokens
from coe_core.clock import SystemClock
from coe_core.engine import run
from coe_core.hookspec import hookimpl
from coe_core.identity import SessionId, TurnId
from coe_core.message import Message, assistant, user
from coe_core.parameter import ParameterValue
from coe_core.record import Interaction
from coe_core.request import ChatRequest
from coe_core.service import Journal, SessionStore
from coe_core.settings import CoeTable
from coe_core.settings import Settings as Deployed
from coe_core.testing import (
    EventSinkContract,
    ManualClock,
    ScriptedProvider,
    StandingDeployment,
    SummarizerContract,
    deployment,
    scripted_application,
)
from coe_core.testing import make_turn as make_parent
from coe_core.testing.strategies import conversations, texts
from coe_core.turn import GuardVerdict

MakeTurn = Callable[..., Interaction]
Tables = Callable[[DataFolder], dict[str, list[Any]]]
WINDOW = 8


@define
class Failing:
    """Fails the first times; then says which messages it was given."""

    failures: int = 0
    name: str = "failing"
    limits: list[int] = field(factory=list)

    async def summarize(self, previous: str | None, messages: Any, **told: Any) -> str:
        self.limits.append(told["limit_tokens"])
        if self.failures:
            self.failures -= 1
            raise LookupError("on purpose")
        return "\n".join([*([previous] if previous else []), *(m.text for m in messages)])


@define
class Scene:
    """Records with a keeper of summaries, in a small window."""

    records: Records
    application: Application
    keeper: SummaryKeeper
    make_turn: MakeTurn
    turns: int = 0

    async def say(self, follows: TurnId | None = None, **fields: Any) -> Interaction:
        """Run a turn as the engine does."""
        group = fields.get("group", "research")
        if follows is not None:
            await self.records.history(group, follows, limit=WINDOW)
        self.turns += 1
        turn = self.make_turn(self.turns, follows=follows, **fields)
        await self.records.append(turn)
        await self.keeper.receive(turn)
        await asyncio.gather(*self.keeper._making)
        return turn

    async def converse(self, turns: int, **fields: Any) -> list[Interaction]:
        said: list[Interaction] = []
        for _ in range(turns):
            said.append(await self.say(said[-1].id if said else None, **fields))
        return said


@pytest.fixture
def scene(folder: DataFolder, make_turn: MakeTurn, secret: Any) -> Callable[..., Any]:
    @asynccontextmanager
    async def play(summarizer: Any = None, provider: Any = None) -> AsyncIterator[Scene]:
        summarizer = summarizer or ExtractiveSummarizer()
        records = Records(folder.path, SystemClock(), 1 << 20, secret(folder))
        await records.open()
        bare = scripted_application(provider)
        application = evolve(
            bare,
            settings=Deployed(coe=CoeTable(history_messages=WINDOW)),
            summarizers=(summarizer,),
            services={**bare.services, Journal: records, SessionStore: records},
        )
        keeper = SummaryKeeper(StandingDeployment(application), records, summarizer.name, 100)
        await keeper.open()
        yield Scene(records, application, keeper, make_turn)
        await keeper.close()
        await records.close()

    return play


def rows(tables: Tables, folder: DataFolder, name: str = "conversation_summaries") -> list[Any]:
    return tables(folder)[name]


@given(
    sizes=st.lists(st.integers(0, 9), min_size=1, max_size=60),
    window=st.integers(2, 20),
    cut=st.integers(0, 60),
)
def test_deltas_are_the_same_whenever_they_are_made(
    sizes: list[int], window: int, cut: int
) -> None:
    """What was divided when there were fewer turns is the beginning of what is divided later."""
    turns = [(TurnId(str(n)), size) for n, size in enumerate(sizes)]
    early, late = (list(deltas(some, window)) for some in (turns[:cut], turns))
    assert late[: len(early)] == early
    flat = [turn_id for delta in late for turn_id in delta]
    assert flat == [turn_id for turn_id, _ in turns[: len(flat)]], "ranges follow each other"
    left = sizes[len(flat) :]
    assert not is_long(sum(left), window) or sum(left[:-1]) < window - window // 2


async def test_long_conversation_has_a_chain_of_summaries(
    scene: Any, folder: DataFolder, tables: Tables
) -> None:
    async with scene() as play:
        said = await play.converse(12)
        history = await play.records.history("research", said[-1].id, limit=WINDOW)
        other = await play.records.history("support", said[-1].id, limit=WINDOW)
    found = {row[4]: row for row in rows(tables, folder)}
    ids = [turn.id for turn in said]
    extends, place = None, 0
    while place < len(ids) and (
        row := next((r for r in found.values() if r[3] == ids[place]), None)
    ):
        assert row[6] == extends
        extends, place = row[0], ids.index(row[4]) + 1
    assert len(found) >= 3
    assert place > 6
    assert history.summary is not None
    assert history.messages == tuple(m for turn in said[place:] for m in turn.messages)
    assert (other.messages, other.summary) == ((), None)


async def test_nothing_is_missing_between_summary_and_window(scene: Any) -> None:
    """What the summarizer was given, and what is told beside it, is the whole conversation."""
    async with scene(Failing()) as play:
        said: list[Interaction] = []
        for _ in range(20):
            said.append(await play.say(said[-1].id if said else None))
            history = await play.records.history("research", said[-1].id, limit=WINDOW)
            told = [m.text for m in history.messages]
            summed = (history.summary or "").splitlines()
            assert [*summed, *told] == [m.text for turn in said for m in turn.messages]


async def test_forks_share_the_summaries_of_what_they_share(
    scene: Any, folder: DataFolder, tables: Tables
) -> None:
    async with scene() as play:
        said = await play.converse(8)
        before = len(rows(tables, folder))
        fork = said[-2]
        for _ in range(3):
            fork = await play.say(fork.id)
        end = await play.records.history("research", fork.id, limit=WINDOW)
    assert end.summary is not None
    firsts = [row[3] for row in rows(tables, folder) if row[6] is None]
    assert firsts == [said[0].id]
    assert len(rows(tables, folder)) > before


async def test_made_twice_counts_once(scene: Any, folder: DataFolder, tables: Tables) -> None:
    async with scene() as play:
        said = await play.converse(5)
        turn = play.make_turn(6, follows=said[-1].id)
        await play.records.append(turn)
        await asyncio.gather(*(play.keeper.ensure(play.application, turn) for _ in range(4)))
    found = rows(tables, folder)
    assert len({row[0] for row in found}) == len(found) > 0
    assert audit(folder).faults == ()


async def test_failure_is_made_good_by_the_next_turn(
    scene: Any, folder: DataFolder, tables: Tables
) -> None:
    async with scene(Failing(failures=1)) as play:
        said = await play.converse(5)
        assert rows(tables, folder) == []
        await play.say(said[-1].id)
    assert len(rows(tables, folder)) == 2


async def test_length_is_that_in_force_for_the_turn(scene: Any) -> None:
    said = Failing()
    async with scene(said) as play:
        value = ParameterValue(value=64, origin="group")
        await play.converse(5, params={"summary_tokens": value})
    assert said.limits == [64]


async def test_short_conversation_has_none(scene: Any, folder: DataFolder, tables: Tables) -> None:
    async with scene() as play:
        said = await play.converse(3)
        assert (await play.records.history("research", said[-1].id, limit=WINDOW)).summary is None
    assert rows(tables, folder) == []


async def test_rebuild_equals_the_original(
    scene: Any, folder: DataFolder, tables: Tables, lose_database: Callable[[DataFolder], None]
) -> None:
    provider = ScriptedProvider()
    model = ModelSummarizer("scripted", ModelCaller(SystemClock()))
    async with scene(model, provider) as play:
        await play.converse(9)
    before = tables(folder)
    assert before["conversation_summaries"]
    assert [row for row in before["attempts"] if row[3] == "summary"]
    assert audit(folder).faults == ()
    lose_database(folder)
    rebuild(folder)
    assert tables(folder) == before


async def test_model_s_summaries_are_paid_and_recorded(
    scene: Any, folder: DataFolder, tables: Tables
) -> None:
    model = ModelSummarizer("scripted", ModelCaller(SystemClock()))
    async with scene(model) as play:
        await play.converse(6)
    (made,) = rows(tables, folder)
    paid = [row for row in rows(tables, folder, "attempts") if row[3] == "summary"]
    assert [(row[0], row[2]) for row in paid] == [(made[9], "research")]


async def test_lost_summary_and_its_cost_are_restored_from_the_database(
    scene: Any, folder: DataFolder, tables: Tables
) -> None:
    """No model would say the same again."""
    model = ModelSummarizer("scripted", ModelCaller(SystemClock()))
    async with scene(model) as play:
        await play.converse(6)
    before = tables(folder)
    for row in (*before["conversation_summaries"], *before["attempts"]):
        if row[3] == "summary" or len(row) == len(before["conversation_summaries"][0]):
            overwrite(folder, *row[-4:-1])
    assert audit(folder).faults != ()
    repaired = repair(folder, SystemClock(), dry_run=False, segment_bytes=1 << 20)
    assert repaired.left == ()
    after = tables(folder)
    for name in ("conversation_summaries", "attempts"):
        assert [row[:-4] for row in after[name]] == [row[:-4] for row in before[name]]
    rebuild(folder)
    assert tables(folder)["conversation_summaries"] == after["conversation_summaries"]


def overwrite(folder: DataFolder, segment: str, offset: int, length: int) -> None:
    with (folder.events / segment).open("r+b") as file:
        file.seek(offset)
        file.write(b"x" * (length - 1))


@define
class ScriptedPlugin:
    @hookimpl
    def coe_model_providers(self, ctx: Any) -> list[ScriptedProvider]:
        return [PROVIDER]


PROVIDER = ScriptedProvider()


async def test_engine_s_next_turn_is_told_the_summary(folder: DataFolder) -> None:
    """All parts as they are deployed, from the request to what the model is sent."""
    text = '[coe]\nhistory_messages = 8\n[routing]\ndefault = "scripted"\n'
    if folder.server is not None:
        text += f'[plugins.records]\ndatabase = "file:{folder.path}.server"\n'
    plugins = {"records": RecordsPlugin, "scripted": ScriptedPlugin}
    async with deployment(text, plugins=plugins, data_dir=folder.path) as host:
        (keeper,) = host.application.event_sinks
        assert isinstance(keeper, SummaryKeeper)
        for number in range(8):
            said = (user(f"My order {4700 + number} is late."),)
            request = ChatRequest(model="auto", messages=said)
            ask = Ask(request=request, principal=LOCAL, session_id=SessionId("orders"))
            async for _ in run(host.application, ask):
                pass
            await asyncio.gather(*keeper._making)
    told = [message.text for message in PROVIDER.requests[-1].messages]
    assert told[0].startswith("Summary of the conversation so far:\nuser: My order 4700")
    assert len(told) <= 8
    assert audit(folder).faults == ()


class TestExtractive(SummarizerContract):
    def make(self) -> ExtractiveSummarizer:
        return ExtractiveSummarizer()


class TestModel(SummarizerContract):
    def make(self) -> ModelSummarizer:
        return ModelSummarizer("scripted", ModelCaller(SystemClock()))


@settings(deadline=None)
@given(previous=st.none() | texts(), messages=conversations(), limit_tokens=st.integers(1, 200))
def test_extract_keeps_its_limit_and_is_of_what_was_said(
    previous: str | None, messages: Sequence[Message], limit_tokens: int
) -> None:
    text = summary(previous, messages, limit_tokens)
    assert estimate_tokens(text) <= limit_tokens
    assert text == summary(previous, messages, limit_tokens)
    said = " ".join([previous or "", *(m.text for m in messages)]).split()
    for line in text.splitlines()[:-1]:
        for word in line.removeprefix("user: ").removeprefix("assistant: ").split():
            assert any(word in each for each in said)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (
            [
                user("안녕하세요! 좋은 아침이에요."),
                assistant("안녕하세요. 무엇을 도와드릴까요?"),
                user("주문 번호 4711 상품이 아직 도착하지 않았어요. 부산으로 보내 주세요."),
                assistant("네, 확인하겠습니다."),
            ],
            ["4711", "부산"],
        ),
        (
            [
                user("Hi there!"),
                assistant("Hello! How can I help you today?"),
                user("My order 4711 has not arrived. Please send it to Busan instead."),
                assistant("Sure, let me look."),
            ],
            ["4711", "Busan"],
        ),
    ],
)
def test_extract_keeps_what_is_particular(said: list[Message], told: list[str]) -> None:
    text = summary(None, said, 45)
    for word in told:
        assert word in text, text


def test_extract_says_nothing_twice() -> None:
    said = [user("The server in Seoul is down."), assistant("The server in Seoul is down.")] * 3
    assert summary(None, said, 400).count("Seoul") == 1


async def test_model_that_says_nothing_is_an_error() -> None:
    parent = make_parent(application=scripted_application(ScriptedProvider(answers=("",))))
    asking = ModelSummarizer("scripted", ModelCaller(SystemClock()))
    with pytest.raises(EmptySummary, match="empty summary"):
        await asking.summarize(None, [user("x")], limit_tokens=32, parent=parent)
    (attempt,) = parent.ledger.attempts
    assert attempt.purpose == "summary"


async def test_what_leaves_for_a_model_passes_the_egress_guards() -> None:
    @define
    class Masking:
        name: str = "masking"
        steps: frozenset[str] = frozenset({"egress"})

        async def inspect(self, turn: Any, step: str, text: str) -> GuardVerdict:
            seen.append((turn.group, text))
            return GuardVerdict(verdict="redact", text=text.replace("4711", "[number]"))

    seen: list[Any] = []
    provider = ScriptedProvider()
    application = evolve(scripted_application(provider), guards=(Masking(),))
    asking = ModelSummarizer("scripted", ModelCaller(SystemClock()))
    parent = make_parent(application=application)
    await asking.summarize(None, [user("order 4711")], limit_tokens=32, parent=parent)
    assert any("4711" in text for _, text in seen)
    assert all("4711" not in m.text for m in provider.requests[-1].messages)


class TestKeeper(EventSinkContract):
    @pytest.fixture(autouse=True)
    def folders(self, new_folder: Callable[[], DataFolder]) -> None:
        self.new_folder = new_folder

    def make(self) -> SummaryKeeper:
        records = Records(self.new_folder().path, ManualClock(), 1 << 20)
        return SummaryKeeper(StandingDeployment(scripted_application()), records, "extractive", 100)


def test_model_without_an_alias_is_refused() -> None:
    with pytest.raises(ValueError, match="summary_model"):
        Settings(summarizer="model")


def test_plugin_contributes_the_model_s_summarizer_when_it_has_a_model(
    application: Any, folder: DataFolder
) -> None:
    async def names(text: str) -> list[str]:
        async with application(text, records=RecordsPlugin) as app:
            return [summarizer.name for summarizer in app.summarizers]

    assert asyncio.run(names("")) == ["extractive"]
    asking = '[plugins.records]\nsummarizer = "model"\nsummary_model = "small"\n'
    assert asyncio.run(names(asking)) == ["extractive", "model"]
