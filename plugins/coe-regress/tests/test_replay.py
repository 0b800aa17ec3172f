"""A replay: the engine and the deployment's own parts, and nothing that is not on the recording."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from attrs import evolve, frozen
from coe_regress.case import (
    Case,
    Expectation,
    Fault,
    ModelCall,
    Recording,
    ToolAnswer,
)
from coe_regress.minimizer import Minimizer
from coe_regress.replay import replay
from coe_regress.result import judge, run
from coe_regress.tape import ERRORS, error_of

from coe_core.contract import ToolContext
from coe_core.error import BudgetExceeded, UpstreamTimeout
from coe_core.hookspec import hookimpl
from coe_core.message import FunctionCall, ToolCall, assistant, user
from coe_core.request import ChatRequest
from coe_core.service import Caller, Clock, KnowledgeStore, RecordReader
from coe_core.turn import Passage, Route, Turn

from .conftest import MENDED, SETTINGS, MakeStage, called


async def test_it_fails_before_the_mend_and_passes_after_it(
    failed: Case, make_stage: MakeStage
) -> None:
    with make_stage() as stage:
        seen = await replay(failed, stage)
    assert seen.misses(failed) == ["it ended as failed (upstream_cut), not with an answer"]
    assert judge(failed, seen)[0] == "known"
    assert judge(evolve(failed, state="active"), seen)[0] == "failed"
    with make_stage(MENDED) as stage:
        seen = await replay(failed, stage)
    assert seen.misses(failed) == []
    assert [tried.model for tried in seen.happened.attempts] == ["main", "spare"]
    assert judge(failed, seen) == (
        "mended",
        "it passes now: `coe regress activate target-error-1`",
    )
    whole = evolve(failed, expect=Expectation(ends="succeeded"))
    assert seen.misses(whole) == ["it ended as fallback_used"]


@pytest.mark.parametrize(
    ("state", "verdicts"),
    [
        ("candidate", {"known": False, "mended": False, "unrecorded": False}),
        ("reviewed", {"known": False, "mended": True, "unrecorded": True}),
        ("active", {"failed": True, "passed": False, "unrecorded": True}),
        ("retired", {"retired": False}),
    ],
)
async def test_what_breaks_a_run(
    failed: Case, make_stage: MakeStage, state: str, verdicts: dict[str, bool]
) -> None:
    case = evolve(failed, state=state)  # type: ignore[arg-type]
    passing = evolve(case, recording=Recording(otherwise="Yes."))
    unknown = evolve(case, recording=Recording())
    with make_stage() as stage:
        results = [result async for result in run([case, passing, unknown], stage)]
    assert {result.verdict: result.breaks for result in results} == verdicts


async def test_a_model_gives_its_answers_in_order_and_fails_for_ever(
    failed: Case, make_stage: MakeStage
) -> None:
    calls = (ModelCall(model="main", says="One."), ModelCall(model="main", error=Fault(code="x")))
    case = evolve(failed, recording=Recording(models=calls))
    with make_stage() as stage:
        assert (await replay(case, stage)).happened.status == "success"
        case = evolve(case, recording=Recording(models=calls[1:]))
        assert (await replay(case, stage)).happened.error_code == "upstream_error"
    with make_stage(MENDED.replace('["spare"]', '["main", "spare"]')) as stage:
        seen = await replay(case, stage)
    assert seen.unrecorded == ("the model 'spare' was not asked, or not so often",)


def test_every_error_of_a_provider_can_be_played() -> None:
    for code, cls in ERRORS.items():
        error = error_of(Fault(code=code, message="m"))
        assert (type(error), error.code, error.message) == (cls, code, "m")
    assert type(error_of(Fault(code="upstream_timeout"))) is UpstreamTimeout


@frozen
class Probe:
    """A router that looks at whatever a router may look at."""

    ctx: Any
    seen: list[Any]
    name: str = "probe"

    async def route(self, turn: Turn) -> Route | None:
        clock = self.ctx.need(Clock)
        self.seen.append((clock.now(), turn.session.history, turn.session.summary, turn.headers))
        await clock.sleep(3600)
        self.seen.append(clock.now())
        return None


async def test_time_and_conversation_are_the_turns(failed: Case, make_stage: MakeStage) -> None:
    seen: list[Any] = []

    class ProbePlugin:
        @hookimpl
        def coe_routers(self, ctx: Any) -> list[Probe]:
            return [Probe(ctx, seen)]

    before = (user("Hi"), assistant("Hello."))
    context = evolve(
        failed.context, history=before, summary="They met.", headers={"x-coe-route": "r"}
    )
    with make_stage(probe=ProbePlugin) as stage:
        await replay(evolve(failed, context=context), stage)
    start = failed.context.started_at
    assert seen[0] == (start, before, "They met.", {"x-coe-route": "r"})
    assert seen[1] == start + timedelta(hours=1)


async def test_a_budget_that_was_spent_is_spent(failed: Case, make_stage: MakeStage) -> None:
    settings = SETTINGS.replace(
        "[models.main]\n", '[models.main]\nprice = { input = "1", output = "100" }\n'
    )
    group = '[groups.default]\nbudget_usd_month = "1"\n'
    case = evolve(failed, recording=Recording(otherwise="Yes."))
    spent = evolve(case, context=evolve(case.context, spent_usd=Decimal("0.9")))
    with make_stage(settings + group) as stage:
        assert (await replay(case, stage)).happened.status == "success"
        denied = await replay(spent, stage)
        assert denied.happened.failure == "budget_denied"
        assert denied.happened.error_code == BudgetExceeded.code
    with make_stage(settings + group.replace('"1"', '"2"')) as stage:
        assert (await replay(spent, stage)).misses(spent) == []


@frozen
class Stocks:
    """A tool of ours that may not be called."""

    name: str = "stocks"
    description: str = "Counts what is there."
    input_schema = {"type": "object"}
    output_schema = {"type": "object"}
    effects = frozenset({"write"})

    async def call(self, arguments: Any, context: ToolContext) -> Any:
        raise AssertionError("a replay called a real tool")


@frozen
class Shelves:
    """A retriever of ours that may not be asked."""

    name: str = "shelves"

    async def retrieve(self, turn: Turn, layers: tuple[str, ...]) -> list[Passage]:
        raise AssertionError("a replay asked a real retriever")


class StocksPlugin:
    @hookimpl
    def coe_tools(self, ctx: Any) -> list[Stocks]:
        ctx.need(KnowledgeStore)
        return [Stocks()]

    @hookimpl
    def coe_retrievers(self, ctx: Any) -> list[Shelves]:
        return [Shelves()]


def _with_tool(case: Case, **answer: Any) -> Case:
    call = ToolCall(id="c1", function=FunctionCall(name="stocks", arguments='{"of": "tea"}'))
    models = (ModelCall(model="main", calls=(call,)), ModelCall(model="main", says="Three."))
    tools = (ToolAnswer(tool="stocks", **answer),) if answer else ()
    return evolve(case, recording=Recording(models=models, tools=tools))


async def test_tools_and_retrievers_are_played(failed: Case, make_stage: MakeStage) -> None:
    known = _with_tool(failed, arguments={"of": "tea"}, result={"count": 3})
    other = _with_tool(failed, arguments={"of": "coffee"}, result={"count": 3})
    with make_stage(stocks=StocksPlugin) as stage:
        seen = await replay(known, stage)
        assert (seen.happened.status, seen.unrecorded) == ("success", ())
        assert len(seen.happened.attempts) == 2
        for case in (other, _with_tool(failed)):
            seen = await replay(case, stage)
            assert seen.unrecorded == ("the tool 'stocks' was not called with these arguments",)


@frozen
class Curious:
    """A router that asks what a replay has not."""

    ctx: Any
    name: str = "curious"

    async def route(self, turn: Turn) -> Route | None:
        store = self.ctx.need(KnowledgeStore)
        await store.cards(["global"])
        return None


@frozen
class Judging:
    """A router that asks a model."""

    ctx: Any
    name: str = "judging"

    async def route(self, turn: Turn) -> Route | None:
        asked = ChatRequest(model="spare", messages=(user("Where to?"),))
        answer = self.ctx.need(Caller).complete("spare", asked, purpose="routing", parent=turn)
        return Route(model="spare") if [c async for c in answer] else None


@pytest.mark.parametrize(
    ("router", "asked"), [(Curious, "KnowledgeStore.cards"), (Judging, "the model 'spare'")]
)
async def test_whatever_is_not_recorded_is_told_though_a_wall_hides_it(
    failed: Case, make_stage: MakeStage, router: type[Any], asked: str
) -> None:
    class AskingPlugin:
        @hookimpl
        def coe_routers(self, ctx: Any) -> list[Any]:
            return [router(ctx)]

    case = evolve(failed, recording=Recording(models=(ModelCall(model="main", says="Yes."),)))
    with make_stage(asking=AskingPlugin) as stage:
        seen = await replay(case, stage)
    assert seen.happened.status == "success"
    assert [text.startswith(asked) for text in seen.unrecorded] == [True]
    assert judge(case, seen)[0] == "unrecorded"


@frozen
class Counting:
    """A sink and router that would remember from one turn to the next."""

    reader: RecordReader
    name: str = "counting"

    async def route(self, turn: Turn) -> Route | None:
        before = [each async for each in self.reader.interactions(None)]
        return Route(model="spare", reason=f"{len(before)} before") if before else None


async def test_nothing_is_left_for_the_next_replay(failed: Case, make_stage: MakeStage) -> None:
    class CountingPlugin:
        @hookimpl
        def coe_routers(self, ctx: Any) -> list[Counting]:
            return [Counting(ctx.need(RecordReader))]

    with make_stage(counting=CountingPlugin) as stage:
        seen = [await replay(called(failed, number), stage) for number in range(3)]
    assert seen[0] == seen[1] == seen[2]


async def test_what_groups_set_of_plugins_that_take_no_part_is_left_out(
    failed: Case, make_stage: MakeStage
) -> None:
    """It is the parameter of one that keeps things, or of none that is installed here."""
    with make_stage(SETTINGS + "[groups.default.params]\nhistory_kept = 3\n") as stage:
        for _ in range(2):
            seen = await replay(failed, stage)
            assert seen.happened.error_code == "upstream_cut"


async def test_a_case_is_made_small(failed: Case, make_stage: MakeStage) -> None:
    """It keeps what a router looks at, and nothing else."""

    class PickyPlugin:
        @hookimpl
        def coe_routers(self, ctx: Any) -> list[Any]:
            return [Picky()]

    @frozen
    class Picky:
        name: str = "picky"

        async def route(self, turn: Turn) -> Route | None:
            wanted = "needle" in turn.request.text and turn.request.temperature == 0.5
            return Route(model="main") if wanted else Route(model="spare")

    text = " ".join(["hay"] * 30 + ["needle"] + ["hay"] * 9)
    large = evolve(
        failed,
        request=ChatRequest(
            model="auto",
            messages=(user("Before"), assistant("Yes?"), user(text)),
            temperature=0.5,
            metadata={"tags": "a"},
            stop="###",
        ),
        context=evolve(failed.context, summary="A summary."),
    )
    with make_stage(picky=PickyPlugin) as stage:
        small = await Minimizer(stage).minimize(large)
        assert (await replay(small, stage)).misses(small) == [
            "it ended as failed (upstream_cut), not with an answer"
        ]
    assert small.request == ChatRequest(model="auto", messages=(user("needle"),), temperature=0.5)
    assert small.context == failed.context
    misrouted = evolve(large, failure="wrong_route", expect=Expectation(goes_to="spare"))
    with make_stage(picky=PickyPlugin) as stage:
        assert (await Minimizer(stage).minimize(misrouted)).request.messages == (user(text),)
