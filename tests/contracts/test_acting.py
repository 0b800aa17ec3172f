"""Suites of what acts: providers, tools, agents, what finds and summarizes, jobs, checks."""

import asyncio
import itertools
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from attrs import evolve, field, frozen

from coe_core import Chunk, Finding, Model, Passage, ToolCallDelta, Usage, Vectors
from coe_core.error import ToolFailed
from coe_core.scaffold.kinds.agent import ExampleAgent
from coe_core.scaffold.kinds.agent_protocol import ExampleAgentProtocol
from coe_core.scaffold.kinds.check import ExampleCheck
from coe_core.scaffold.kinds.job import ExampleJob
from coe_core.scaffold.kinds.model_provider import ExampleModelProvider
from coe_core.scaffold.kinds.reranker import ExampleReranker
from coe_core.scaffold.kinds.retriever import ExampleRetriever
from coe_core.scaffold.kinds.segment_job import ExampleSegmentJob
from coe_core.scaffold.kinds.summarizer import ExampleSummarizer
from coe_core.scaffold.kinds.tool import ExampleTool
from coe_core.testing import (
    AgentContract,
    AgentProtocolContract,
    CheckContract,
    JobContract,
    ModelProviderContract,
    RerankerContract,
    RetrieverContract,
    ScriptedProvider,
    SegmentJobContract,
    SummarizerContract,
    ToolContract,
)

from .seeding import clings, counts, fails, gives, proving, yields

END = Chunk(finish_reason="stop")


async def lingers(*_: Any, **__: Any) -> Any:
    """Answer, and hold on to the connection when left."""
    try:
        yield Chunk(content="a")
        yield END
    finally:
        await asyncio.sleep(3600)


async def holds_on(*_: Any, **__: Any) -> Any:
    """Answer on, whatever is cancelled."""
    for _ in range(3):
        try:
            await asyncio.sleep(0.001)
        except asyncio.CancelledError:
            continue
    yield END


def test_model_provider() -> None:
    async def meddle(_: Any, model: Any, request: Any, *, group: str) -> Any:
        request.extra["stream"] = True
        yield END

    async def remembers(self: Any, model: Any, request: Any, *, group: str) -> Any:
        self.requests.append(request)
        await asyncio.sleep(0)
        if len(self.requests) > 1 and self.requests[-1] is not request:
            yield Chunk(content="cut")
            return
        yield END

    async def one_after_the_other(self: Any, model: Any, request: Any, *, group: str) -> Any:
        if self.requests:
            raise ConnectionError("busy")
        self.requests.append(request)
        await asyncio.sleep(0)
        yield END
        self.requests.clear()

    async def embeds(self: Any, model: Any, request: Any, *, group: str) -> Vectors:
        return Vectors.of([[float(n)] for n, _ in enumerate(request.input)])

    @frozen
    class Colliding:
        model: str = ""

    models = ScriptedProvider().models()
    call = ToolCallDelta(index=0, id="1", name="f")
    with proving(ModelProviderContract, ScriptedProvider) as bug:
        bug("test_has_a_model_to_try", "override `models", models=lambda _: [])
        bug("test_options_can_be_settings", "make it an attrs class", options=dict)
        bug("test_options_can_be_settings", "keys of the core", options=Colliding)
        twice = [models[0], models[0]]
        bug("test_offers_its_own_models", "one alias", models=lambda _: twice)
        strange = [evolve(models[0], provider="other")]
        bug("test_offers_its_own_models", "another provider", models=lambda _: strange)

        stands = "test_lets_the_settings_stand"
        bug(stands, "with attrs.evolve", describe=lambda *_: None)
        bug(stands, "the settings say price", describe=lambda _, model: evolve(model, price=None))

        whole = "test_answers_whole_or_says_why_not"
        bug(whole, "taken for cut", complete=yields(Chunk(content="a")))
        bug(whole, "yield coe_core.Chunk", complete=yields("a", END))
        bug(whole, "went on after its finish", complete=yields(END, Chunk(content="a")))
        bug(whole, "attempt policies decide", complete=yields(error=TimeoutError()))
        bug(whole, "write an `async def` with `yield", complete=lambda *_, group: [END])
        nameless = Chunk(tool_calls=(evolve(call, name=None),))
        bug(whole, "has no name", lambda: Falling(nameless))
        idless = Chunk(tool_calls=(evolve(call, id=None),))
        bug(whole, "has no id", lambda: Falling(idless))
        falling = [Chunk(usage=Usage(output_tokens=n)) for n in (2, 1)]
        bug(whole, "the whole answer so far", lambda: Falling(*falling))
        cached = Chunk(usage=Usage(input_tokens=1, cached_input_tokens=2))
        bug(whole, "are a part of input", lambda: Falling(cached))
        reasoned = Chunk(usage=Usage(output_tokens=1, reasoning_tokens=2))
        bug(whole, "are a part of output", lambda: Falling(reasoned))

        bug("test_answers_a_greeting", "was refused", complete=yields(error=ToolFailed("no")))
        bug("test_leaves_the_request_alone", "use attrs.evolve", complete=meddle)
        bug("test_stops_when_it_is_left", "without waiting for the rest", complete=lingers)
        bug("test_lets_itself_be_cancelled", "swallow it", complete=holds_on)
        bug("test_answers_several_at_once", "taken for cut", complete=remembers)
        bug("test_answers_several_at_once", "attempt policies", complete=one_after_the_other)
        bug("test_embeds_each_text", "each gets one", embed=gives(Vectors.of([])))
        bug("test_embeds_each_text", "return coe_core.Vectors", embed=gives([[1.0]]))
        bug("test_embeds_in_order", "rows reversed", embed=embeds)


class Falling(ScriptedProvider):
    """Answers every choice, with these chunks first."""

    def __init__(self, *first: Chunk) -> None:
        super().__init__()
        self.first = first

    async def complete(self, model: Model, request: Any, *, group: str) -> Any:
        for chunk in self.first:
            yield chunk
        for index in range(request.n or 1):
            yield evolve(END, index=index)


def test_model_provider_sees_numbers_that_are_none() -> None:
    async def embeds(_: Any, model: Any, request: Any, *, group: str) -> Vectors:
        return Vectors.of([[float("nan")] for _ in request.input])

    everything = {*dir(ModelProviderContract)}
    with proving(ModelProviderContract, ScriptedProvider, exempt=everything) as bug:
        bug("test_embeds_each_text", "which no index can search", embed=embeds)


def test_model_provider_tries_the_models_it_is_told() -> None:
    def models(self: Any, provider: Any) -> list[Model]:
        return list(ExampleModelProvider().models())

    class Bare(ExampleModelProvider):
        def models(self) -> list[Model]:
            return []

    everything = {*dir(ModelProviderContract)}
    with proving(ModelProviderContract, Bare, exempt=everything, models=models) as bug:
        bug("test_answers_a_greeting", "taken for cut", complete=yields(Chunk(content="a")))


@frozen
class Booking(ExampleTool):
    """A tool that writes, remembers what it wrote, and can undo it."""

    effects: frozenset[str] = frozenset({"write"})
    booked: dict[str, int] = field(factory=dict)

    async def call(self, arguments: Any, context: Any) -> Mapping[str, int]:
        number = self.booked.setdefault(context.idempotency_key, len(self.booked))
        return {"words": number}

    async def compensate(self, arguments: Any, result: Any, context: Any) -> None:
        del self.booked[context.idempotency_key]


def test_tool() -> None:
    async def meddle(_: Any, arguments: Any, context: Any) -> Any:
        arguments["text"] = arguments["text"].strip() + "!"
        return {"words": 1}

    with proving(ToolContract, ExampleTool, exempt={*dir(ToolContract)}) as bug:
        bug("test_can_be_offered_to_models", "models take up to 64", name="count words")
        bug("test_can_be_offered_to_models", "models choose a tool by it", description=" ")
        bug("test_declares_its_effects", "['mail'] are unknown", effects=frozenset({"mail"}))
        bug("test_declares_its_effects", 'says {"none"}', effects=frozenset())
        both = frozenset({"none", "read"})
        bug("test_declares_its_effects", '"none" and others', effects=both)
        keeps = "test_keeps_its_output_schema"
        bug(keeps, "its output_schema says", call=gives({"words": -1}))
        bug(keeps, "which is not JSON", call=gives({"words": {1}}))
        bug(keeps, "raise ToolFailed with a text", call=fails(ValueError("x")))
        bug(keeps, "the model reads it", call=fails(ToolFailed("")))
        bug("test_leaves_its_arguments_alone", "copy what you want", call=meddle)
        numbered = counts(lambda n: {"words": n})
        bug("test_computes_alike", 'effects {"read"}', call=numbered)
        bug("test_lets_itself_be_cancelled", "swallow it", call=clings({"words": 1}))
        with_schema("input_schema", {"type": "array"}, "arguments by name", bug)
        with_schema("input_schema", {"type": "objekt"}, "no JSON Schema 2020-12", bug)
        with_schema("output_schema", {"enum": {1, 2}}, "is not JSON", bug)
    laws = {*dir(ToolContract)} - {"test_repeats_nothing", "test_can_be_undone"}
    with proving(ToolContract, Booking, exempt=laws) as bug:
        bug("test_repeats_nothing", "remember the result", call=counts(lambda n: {"words": n}))
        kept = evolve(Booking(), booked={})
        bug("test_can_be_undone", "failed", lambda: Stubborn(kept.longest))


@frozen
class Stubborn(Booking):
    async def compensate(self, arguments: Any, result: Any, context: Any) -> None:
        raise AssertionError("compensation failed halfway")


def with_schema(name: str, schema: Any, why: str, bug: Any) -> None:
    kind = type("Spoilt", (ExampleTool,), {name: property(lambda _: schema)})
    bug("test_has_valid_schemas", why, kind)


def test_retriever() -> None:
    async def meddle(_: Any, turn: Any, layers: Any) -> list[Passage]:
        turn.headers["seen"] = "yes"
        return []

    async def one_at_a_time(self: Any, turn: Any, layers: Any) -> list[Passage]:
        self.notes["now"] = turn.id
        await asyncio.sleep(0)
        return [evolve(found, id=self.notes["now"])]

    found = Passage(id="1", text="x", layer="global", source="notes", score=0.5)
    better = evolve(found, id="2", score=0.9)
    with proving(RetrieverContract, ExampleRetriever) as bug:
        first = "test_finds_passages_best_first"
        bug(first, "return coe_core.Passage", retrieve=gives(["a text"]))
        bug(first, "the best is not first", retrieve=gives([found, better]))
        bug(first, "is no number", retrieve=gives([evolve(found, score=float("nan"))]))
        bug(first, "came twice", retrieve=gives([found, found]))
        bug(first, "what an answer cites", retrieve=gives([evolve(found, source="")]))
        bug("test_stays_within_the_layers", "filter by layer", retrieve=gives([found]))
        bug("test_leaves_the_turn_alone", "use attrs.evolve", retrieve=meddle)
        bug("test_finds_for_many_at_once", "one by one", retrieve=one_at_a_time)
        bug("test_lets_itself_be_cancelled", "swallow it", retrieve=clings([]))


def test_reranker() -> None:
    async def sort(_: Any, text: str, passages: list[Passage], **_told: Any) -> list[float]:
        passages.sort(key=lambda passage: passage.text)
        passages[:1] = []
        return []

    async def one_at_a_time(self: Any, text: str, passages: Any, **_told: Any) -> list[float]:
        object.__setattr__(self, "name", text)
        await asyncio.sleep(0)
        return [1.0 / (1 + sum(map(ord, self.name))) for _ in passages]

    async def scaled(_: Any, text: str, passages: Any, **_told: Any) -> list[float]:
        return [7.5 for _ in passages]

    async def nothing_known(_: Any, text: str, passages: Any, **_told: Any) -> list[float]:
        return [float("nan") for _ in passages]

    with proving(RerankerContract, ExampleReranker) as bug:
        first = "test_scores_each_passage"
        bug(first, "a number for each passage", rerank=gives(["high"]))
        bug(first, "have one too, 0", rerank=gives([0.5]))
        bug(first, "a score is 7.5", rerank=scaled)
        bug(first, "a score is nan", rerank=nothing_known)
        bug("test_leaves_the_passages_alone", "use attrs.evolve", rerank=sort)
        bug("test_scores_for_many_at_once", "one by one", rerank=one_at_a_time)
        bug("test_lets_itself_be_cancelled", "swallow it", rerank=clings([]))


def test_summarizer() -> None:
    async def everything(_: Any, previous: Any, messages: Any, **_told: Any) -> str:
        return "the conversation " * 50

    async def meddle(_: Any, previous: Any, messages: Any, **_told: Any) -> str:
        messages[0].extra["seen"] = True
        return "short"

    with proving(SummarizerContract, ExampleSummarizer) as bug:
        within = "test_returns_a_text_within_the_limit"
        bug(within, "return the text", summarize=gives(None))
        bug(within, "would not fit", summarize=everything)
        bug("test_keeps_what_was_said", "as nothing", summarize=gives(""))
        bug("test_leaves_the_messages_alone", "use attrs.evolve", summarize=meddle)
        bug("test_lets_itself_be_cancelled", "swallow it", summarize=clings("short"))


def test_agent() -> None:
    async def meddle(_: Any, turn: Any) -> Any:
        turn.headers["seen"] = "yes"
        yield END

    with proving(AgentContract, ExampleAgent) as bug:
        bug("test_says_what_it_is_for", "routers choose", description="")
        bug("test_answers_whole_or_says_why_not", "taken for cut", work=yields(Chunk(content="a")))
        bug("test_leaves_the_turn_alone", "use attrs.evolve", work=meddle)
        bug("test_stops_when_it_is_left", "without waiting", work=lingers)
        bug("test_lets_itself_be_cancelled", "swallow it", work=holds_on)


def test_agent_protocol() -> None:
    async def meddle(_: Any, turn: Any, agents: Any) -> dict[str, str]:
        turn.headers["seen"] = "yes"
        return {}

    async def idle(_: Any, turn: Any, agents: Any) -> dict[str, str]:
        return {agent.name: "" for agent in agents}

    with proving(AgentProtocolContract, ExampleAgentProtocol) as bug:
        first = "test_gives_tasks_to_those_present"
        bug(first, "return name to task", negotiate=gives([]))
        bug(first, "were not asked", negotiate=gives({"stranger": "work"}))
        bug(first, "leave out", negotiate=idle)
        bug("test_leaves_the_turn_alone", "use attrs.evolve", negotiate=meddle)
        bug("test_lets_itself_be_cancelled", "swallow it", negotiate=clings({}))


def test_job() -> None:
    with proving(JobContract, ExampleJob) as bug:
        bug("test_recurs_after_a_time_or_never", "say how often", every=timedelta(0))
        bug("test_recurs_after_a_time_or_never", "say how often", every=60)
        bug("test_reports_in_json", "not JSON", run=gives({1, 2}))
        bug("test_can_be_killed_and_repeated", "left locked", Locking)


class Locking(ExampleJob):
    """Takes a lock and gives it back only when the round ends well."""

    lock: list[str] = []

    def __init__(self) -> None:
        super().__init__()
        self.lock.clear()

    async def run(self) -> str:
        assert not self.lock, "left locked"
        self.lock.append("held")
        await asyncio.sleep(0.001)
        self.lock.clear()
        return "done"


def test_segment_job() -> None:
    numbers = itertools.count()

    async def once(self: Any, results: Any) -> None:
        assert not any(result["turn"] in self.kept for result in results), "was kept before"
        self.kept |= {result["turn"]: 1 for result in results}

    async def meddle(_: Any, results: Any) -> None:
        results.append("seen")

    with proving(SegmentJobContract, ExampleSegmentJob) as bug:
        elsewhere = "test_can_run_elsewhere"
        bug(elsewhere, "it is a text", lambda: ExampleSegmentJob(version=1))  # type: ignore[arg-type]
        bug(elsewhere, "version is empty", lambda: ExampleSegmentJob(version=""))
        nested = lambda _: []  # noqa: E731
        bug(elsewhere, "a function of a module", lambda: ExampleSegmentJob(derive=nested))
        again = "test_derives_the_same_again"
        changing = lambda _: [next(numbers)]  # noqa: E731
        bug(again, "then", lambda: ExampleSegmentJob(derive=changing))
        bug(again, "not JSON", lambda: ExampleSegmentJob(derive=lambda _: [{1}]))
        keeps = "test_keeps_results_any_number_of_times"
        bug(keeps, "was kept before", keep=once)
        bug(keeps, "was changed", keep=meddle)
        bug("test_lets_itself_be_cancelled", "swallow it", keep=clings())


def test_check() -> None:
    numbers = itertools.count()

    async def flips(_: Any) -> Finding:
        return Finding(ok=bool(next(numbers) % 2), text="x", mend="y")

    with proving(CheckContract, ExampleCheck) as bug:
        bug("test_says_what_it_found", "return a Finding", check=gives(True))
        bug("test_says_what_it_found", "no text", check=gives(Finding(ok=True, text="")))
        bug("test_says_what_it_found", "what to do", check=gives(Finding(ok=False, text="x")))
        bug("test_changes_nothing", "a check only looks", check=flips)
        bug("test_lets_itself_be_cancelled", "swallow it", check=clings(Finding(ok=True, text="x")))
