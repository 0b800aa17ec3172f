"""What the policy decides, one failure at a time."""

from typing import Any

import pytest
from attrs import evolve
from coe_fallback.breaker import Breakers, Rules
from coe_fallback.continuation import BYTES_PER_TOKEN, GO_ON, language
from coe_fallback.exchange import Exchange
from coe_fallback.plugin import FallbackPlugin
from coe_fallback.policy import LONGEST_WAIT_S, MOST_FAILURES, FallbackPolicy
from coe_fallback.retry_budget import RetryBudget
from coe_fallback.settings import Settings

from coe_core import Turn
from coe_core.contract import Continue, Failure, GiveUp, Retry, Switch
from coe_core.error import (
    CoeError,
    ContextTooLong,
    UpstreamCut,
    UpstreamDenied,
    UpstreamError,
    UpstreamOverloaded,
    UpstreamRejected,
    UpstreamTimeout,
)
from coe_core.identity import AttemptId
from coe_core.ledger import Attempt
from coe_core.message import assistant, user
from coe_core.parameter import Parameters
from coe_core.request import ChatRequest
from coe_core.testing import (
    ManualClock,
    MemoryStateStore,
    PluginContract,
    ResiliencePolicyContract,
    ScriptedProvider,
    make_turn,
    scripted_application,
)
from coe_core.testing.clock import EPOCH


def policy(**settings: Any) -> FallbackPolicy:
    exchange = Exchange(Breakers(ManualClock(), Rules(failures=2)), MemoryStateStore())
    return FallbackPolicy(Settings(**settings), exchange, chance=lambda: 1.0)


class TestPolicy(ResiliencePolicyContract):
    def make(self) -> FallbackPolicy:
        return policy(local="local", openai="openai", fallback_to_openai=True)


class TestPlugin(PluginContract):
    name = "fallback"

    def make(self) -> type[FallbackPlugin]:
        return FallbackPlugin


def attempt(model: str, outcome: Any = "failed") -> Attempt:
    return Attempt(
        id=AttemptId(model),
        purpose="chat",
        model=model,
        provider="scripted",
        name=model,
        started_at=EPOCH,
        duration_s=1.0,
        outcome=outcome,
    )


def failure(error: CoeError, *failed: str, fallbacks: Any = (), text: str = "") -> Failure:
    tried = failed or ("first",)
    return Failure(
        error=error,
        model=tried[-1],
        attempts=tuple(map(attempt, tried)),
        fallbacks=fallbacks,
        text=text,
        started=bool(text),
        messages=(user("Hello"),),
    )


def turn(**fields: Any) -> Turn:
    provider = ScriptedProvider()
    application = scripted_application(provider)
    model = application.models["scripted"]
    aliases = ("first", "second", "third", "local", "openai")
    application = evolve(application, models={a: evolve(model, alias=a) for a in aliases})
    return make_turn(application=application, **fields)


CUT = UpstreamCut("cut")
TWO = ("second", "third")


class TestBeforeTheFirstWord:
    async def test_what_may_pass_is_tried_again_then_the_next_is(self) -> None:
        asked, here = policy(), turn()
        assert await asked.after_failure(here, failure(CUT, fallbacks=TWO)) == Retry(after_s=0.25)
        again = failure(CUT, "first", "first", fallbacks=TWO)
        assert await asked.after_failure(here, again) == Switch(model="second")

    @pytest.mark.parametrize(
        "error",
        [UpstreamOverloaded("429", retry_after_s=3), UpstreamTimeout("late"), UpstreamDenied("no")],
    )
    async def test_who_needs_a_rest_gets_it(self, error: CoeError) -> None:
        verdict = await policy().after_failure(turn(), failure(error, fallbacks=TWO))
        assert verdict == Switch(model="second")

    async def test_who_stands_alone_is_waited_for(self) -> None:
        asked, here = policy(), turn()
        busy = UpstreamOverloaded("429", retry_after_s=3)
        assert await asked.after_failure(here, failure(busy)) == Retry(after_s=3)
        busy = UpstreamOverloaded("429", retry_after_s=LONGEST_WAIT_S + 1)
        assert await asked.after_failure(here, failure(busy)) == GiveUp()
        assert await asked.after_failure(here, failure(UpstreamDenied("401"))) == GiveUp()

    async def test_retries_are_a_share_of_what_goes_well(self) -> None:
        asked, here = policy(retry_share=0.5), turn()
        asked.budget = RetryBudget(0.5, most=1.0)
        retry, switch = Retry(after_s=0.25), Switch(model="second")
        cut = failure(CUT, fallbacks=TWO)
        verdicts = [await asked.after_failure(here, cut) for _ in range(2)]
        await asked.note(here, attempt("first", "ok"), None)
        verdicts.append(await asked.after_failure(here, cut))
        await asked.note(here, attempt("first", "ok"), None)
        verdicts.append(await asked.after_failure(here, cut))
        assert verdicts == [retry, switch, switch, retry]

    async def test_a_target_that_is_left_alone_comes_last(self) -> None:
        asked, here = policy(local="local"), turn()
        for _ in range(2):
            await asked.note(here, attempt("second"), CUT)
        spent = failure(CUT, "first", "first", fallbacks=("second", "third"))
        assert await asked.after_failure(here, spent) == Switch(model="third")
        alone = evolve(spent, fallbacks=("second",))
        assert await asked.after_failure(here, alone) == Switch(model="local")
        assert await policy().after_failure(here, alone) == Switch(model="second")

    async def test_the_local_model_is_the_last_to_be_tried(self) -> None:
        asked, here = policy(local="local"), turn()
        down = failure(CUT, "first", "first", "second", "second")
        assert await asked.after_failure(here, down) == Switch(model="local")
        down = failure(CUT, "first", "first", "second", "second", "local", "local")
        assert await asked.after_failure(here, down) == GiveUp()
        assert await policy(local="absent").after_failure(here, down) == GiveUp()

    @pytest.mark.parametrize("error", [UpstreamRejected("400"), ContextTooLong("8k")])
    async def test_a_request_at_fault_is_at_fault_everywhere(self, error: CoeError) -> None:
        asked, here = policy(local="local"), turn()
        assert await asked.after_failure(here, failure(error, fallbacks=TWO)) == GiveUp()
        second = failure(error, "first", "second", fallbacks=("third",))
        assert await asked.after_failure(here, second) == Switch(model="third")

    async def test_there_is_an_end(self) -> None:
        many = failure(CUT, *["first"] * MOST_FAILURES, fallbacks=TWO)
        assert await policy().after_failure(turn(), many) == GiveUp()


class TestAfterTheFirstWord:
    async def test_the_next_goes_on_in_the_language_of_the_conversation(self) -> None:
        cut = failure(CUT, fallbacks=TWO, text="Good day ")
        verdict = await policy().after_failure(turn(), cut)
        assert isinstance(verdict, Continue)
        assert verdict.model == "second"
        said = (user("Hello"), assistant("Good day"), user(GO_ON["en"]))
        assert verdict.messages == said
        cut = evolve(cut, text="좋은 ", messages=(user("안녕하세요"),))
        verdict = await policy().after_failure(turn(), cut)
        assert isinstance(verdict, Continue)
        assert verdict.messages[-1] == user(GO_ON["ko"])

    async def test_who_stands_alone_goes_on_by_itself(self) -> None:
        asked, here = policy(), turn()
        verdict = await asked.after_failure(here, failure(CUT, text="Good "))
        assert isinstance(verdict, Continue)
        assert verdict.model == "first"
        twice = failure(CUT, "first", "first", text="Good ")
        assert await asked.after_failure(here, twice) == GiveUp()
        refused = failure(UpstreamDenied("401"), text="Good ")
        assert await asked.after_failure(here, refused) == GiveUp()

    async def test_what_was_seen_without_a_word_is_not_repeated(self) -> None:
        thought = evolve(failure(CUT, fallbacks=TWO), started=True)
        verdict = await policy().after_failure(turn(), thought)
        assert verdict == Continue(model="second", messages=(user("Hello"),))

    async def test_the_rest_is_as_long_as_the_client_allows(self) -> None:
        request = ChatRequest(model="auto", messages=(user("Hello"),), max_tokens=10)
        for text, left in (("a" * BYTES_PER_TOKEN * 4, 6), ("a" * 1000, 1)):
            cut = failure(CUT, fallbacks=TWO, text=text)
            verdict = await policy().after_failure(turn(request=request), cut)
            assert isinstance(verdict, Continue)
            assert verdict.output_limit_tokens == left

    @pytest.mark.parametrize("way", ["restart", "hold"])
    async def test_only_continue_goes_on(self, way: Any) -> None:
        cut = failure(CUT, fallbacks=TWO, text="Good ")
        assert await policy(fallback_policy=way).after_failure(turn(), cut) == GiveUp()
        params = Parameters({"fallback_policy": way})
        assert await policy().after_failure(turn(params=params), cut) == GiveUp()


@pytest.mark.parametrize(
    ("fields", "held"),
    [
        ({}, "unfinished"),
        ({"n": 1, "response_format": {"type": "text"}}, "unfinished"),
        ({"n": 2}, "everything"),
        ({"response_format": {"type": "json_object"}}, "everything"),
        ({"response_format": {"type": "json_schema", "json_schema": {}}}, "everything"),
        ({"extra": {"logprobs": True}}, "everything"),
        ({"extra": {"modalities": ["text", "audio"]}}, "everything"),
    ],
)
def test_what_cannot_be_continued_is_held(fields: Any, held: str) -> None:
    here = turn(request=ChatRequest(model="auto", messages=(user("Hello"),), **fields))
    assert policy().holds(here) == held
    assert policy(fallback_policy="restart").holds(here) == "nothing"
    assert policy(fallback_policy="hold").holds(here) == "everything"


async def test_a_target_whose_breaker_is_open_is_left_out() -> None:
    asked, here = policy(local="local"), turn()
    assert asked.instead(here, "first", ("second",)) == "first"
    for alias in ("first", "second"):
        for _ in range(2):
            await asked.note(here, attempt(alias), CUT)
    assert asked.instead(here, "first", ("second", "third")) == "third"
    assert asked.instead(here, "first", ("second",)) == "local"
    assert policy().instead(here, "first", ()) == "first"
    asked.settings = Settings()
    assert asked.instead(here, "first", ("second",)) is None


class TestLastResort:
    on: Any = {"openai": "openai", "fallback_to_openai": True}

    async def test_answers_when_it_is_switched_on(self) -> None:
        failed = failure(UpstreamError("down"))
        assert await policy(openai="openai").last_resort(turn(), failed) is None
        assert await policy(fallback_to_openai=True).last_resort(turn(), failed) is None
        assert await policy(**self.on).last_resort(turn(), failed) == Switch(model="openai")

    async def test_a_turn_has_the_switch_that_it_was_admitted_with(self) -> None:
        failed = failure(UpstreamError("down"))
        off = turn(params=Parameters({"fallback_to_openai": False}))
        assert await policy(**self.on).last_resort(off, failed) is None
        on = turn(params=Parameters({"fallback_to_openai": True}))
        verdict = await policy(openai="openai").last_resort(on, failed)
        assert verdict == Switch(model="openai")

    async def test_an_alias_that_the_group_may_not_use_is_none(self) -> None:
        asked = policy(openai="forbidden", fallback_to_openai=True)
        assert await asked.last_resort(turn(), failure(CUT)) is None

    async def test_goes_on_from_what_was_seen(self) -> None:
        verdict = await policy(**self.on).last_resort(turn(), failure(CUT, text="Good "))
        assert isinstance(verdict, Continue)
        assert verdict.messages[1] == assistant("Good")


@pytest.mark.parametrize(
    ("texts", "tongue"),
    [
        (["Hello"], "en"),
        (["안녕하세요"], "ko"),
        (["API 키를 어떻게 rotate 하나요?"], "ko"),
        (["What does 안녕 mean in English?"], "en"),
        ([""], "en"),
    ],
)
def test_the_language_is_told(texts: list[str], tongue: str) -> None:
    assert language(texts) == tongue
