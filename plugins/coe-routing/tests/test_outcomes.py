"""Outcomes are counted, taken back, shared as counts; the cheapest good enough model is taken."""

import asyncio
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from attrs import evolve
from coe_routing.destination import Destination
from coe_routing.health import HealthRouter, Pulses
from coe_routing.outcomes import EVERY_S, Outcomes
from coe_routing.quality import QualityRouter
from coe_routing.settings import HealthTable, QualityTable
from coe_routing.tally import GUESS, Tally
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from coe_core.application import Application
from coe_core.clock import SystemClock
from coe_core.ephemeral import EphemeralRecords
from coe_core.identity import SessionId, TurnId, uuid7
from coe_core.ledger import Attempt
from coe_core.model import Model, Price
from coe_core.record import Feedback, Interaction
from coe_core.settings import RoutingTable, Settings
from coe_core.testing import ManualClock, make_attempt, make_interaction, make_turn
from coe_core.testing.turn import empty_application
from coe_core.turn import Outcome, Route, Turn

OUTCOMES = st.lists(
    st.tuples(st.sampled_from("ab"), st.sampled_from(["", "x"]), st.booleans()), max_size=40
)


@given(OUTCOMES)
def test_an_expectation_lies_between_the_guess_and_what_was_seen(
    outcomes: list[tuple[str, str, bool]],
) -> None:
    tally = Tally(10)
    for group, name, good in outcomes:
        tally.add(group, name, "m", good=good)
    seen = [good for *_, good in outcomes]
    expected = tally.expect("a", "x", "m")
    low, high = (0.0, GUESS) if not any(seen) else (GUESS, 1.0) if all(seen) else (0.0, 1.0)
    assert low <= expected.mean <= high
    assert expected.turns == sum(1 for group, name, _ in outcomes if (group, name) == ("a", "x"))


@given(OUTCOMES)
def test_what_is_taken_back_was_never_there(outcomes: list[tuple[str, str, bool]]) -> None:
    tally, other = Tally(10), Tally(10)
    for each in tally, other:
        each.add("a", "x", "m", good=True)
    for group, name, good in outcomes:
        tally.add(group, name, "m", good=good)
    for group, name, good in outcomes:
        tally.add(group, name, "m", good=good, weight=-1.0)
    assert tally.expect("a", "x", "m") == other.expect("a", "x", "m")


def test_a_group_learns_from_others_until_it_knows_itself() -> None:
    tally = Tally(10)
    for _ in range(200):
        tally.add("theirs", "x", "m", good=False)
    assert tally.expect("ours", "x", "m").mean < 0.1
    for _ in range(200):
        tally.add("ours", "x", "m", good=True)
    assert tally.expect("ours", "x", "m").mean > 0.9


def model(alias: str, price: str | None) -> Model:
    known = Price(input=Decimal(price), output=Decimal(price)) if price is not None else None
    return Model(alias=alias, provider="scripted", name=alias, price=known)


MODELS = {m.alias: m for m in (model("cheap", "1"), model("dear", "10"), model("unknown", None))}


def application_of(*routers: object, **routing: object) -> Application:
    settings = Settings(routing=RoutingTable(**routing))  # type: ignore[arg-type]
    return empty_application(models=MODELS, routers=routers, settings=settings)


async def test_the_cheapest_is_taken_until_it_fails() -> None:
    outcomes = outcomes_of(EphemeralRecords())
    router = QualityRouter(QualityTable(models=("unknown", "dear", "cheap")), outcomes)
    tally = outcomes.tally
    turn = make_turn(application=application_of(router))

    async def taken() -> str:
        route = await router.route(turn)
        assert route is not None
        return route.target

    assert await taken() == "cheap"
    for _ in range(20):
        tally.add("default", "", "cheap", good=False)
    assert await taken() == "dear"
    for _ in range(20):
        tally.add("default", "", "dear", good=False)
        tally.add("default", "", "unknown", good=False)
    assert await taken() == "cheap"


def attempt(model: str, code: str | None = None, first_token_s: float = 0.1) -> Attempt:
    return make_attempt(
        model=model,
        provider="scripted",
        started_at=ManualClock().now(),
        duration_s=1.0,
        first_token_s=first_token_s,
        outcome="failed" if code else "ok",
        error_code=code,
    )


def ended(*attempts: Attempt, outcome: Outcome | None = None, name: str = "x") -> Interaction:
    at, turn_id = SystemClock().now(), TurnId(uuid7())
    return make_interaction(
        id=turn_id,
        session=SessionId(uuid7()),
        started_at=at,
        route=Route(model="cheap", reason="r", name=name),
        attempts=attempts,
        outcome=outcome or Outcome(status="success"),
    )


class TestOutcomes:
    @pytest.mark.parametrize(
        ("outcome", "turns"),
        [
            (Outcome(status="success"), 1),
            (Outcome(status="success", failure="fallback_used"), 1),
            (Outcome(status="failed", failure="target_error"), 1),
            (Outcome(status="failed"), 0),
            (Outcome(status="failed", failure="budget_denied"), 0),
            (Outcome(status="cancelled"), 0),
            (Outcome(status="waiting"), 0),
        ],
    )
    async def test_counts_what_speaks_of_the_model(self, outcome: Outcome, turns: int) -> None:
        records = EphemeralRecords()
        outcomes = outcomes_of(records)
        await outcomes.catch_up()
        await records.append(ended(outcome=outcome))
        await outcomes.catch_up()
        await outcomes.catch_up()
        assert outcomes.expect("default", "x", "cheap").turns == turns

    async def test_late_feedback_revises(self) -> None:
        records = EphemeralRecords()
        outcomes, turn = outcomes_of(records), ended()

        async def after(*said: Interaction | Feedback) -> float:
            for record in said:
                await records.append(record)
            await outcomes.catch_up()
            return outcomes.expect("default", "x", "cheap").mean

        before = await after(turn)
        assert await after(rated(turn, -1)) < before
        assert await after(rated(turn, 1)) == before
        assert await after(evolve(rated(turn, -1), group="other")) == before

    async def test_counts_once_what_was_before_the_start(self) -> None:
        records, turn = EphemeralRecords(), ended()
        await records.append(turn)
        await records.append(rated(turn, -1))
        outcomes = outcomes_of(records)
        await outcomes.catch_up()
        await records.append(rated(turn, -1))
        await outcomes.catch_up()
        expected = outcomes.expect("default", "x", "cheap")
        assert expected.turns == 1
        assert expected.mean < GUESS

    async def test_counts_a_turn_once_that_is_written_while_it_looks_back(self) -> None:
        records = EphemeralRecords()
        outcomes = outcomes_of(WrittenMeanwhile(records, ended()))
        await outcomes.catch_up()
        assert outcomes.expect("default", "x", "cheap").turns == 1

    async def test_reads_on_while_it_is_asked(self) -> None:
        records, clock = EphemeralRecords(), ManualClock()
        outcomes = Outcomes(Tally(10), records, clock, timedelta())
        await outcomes.open()
        await clock.advance(0)
        await records.append(ended())
        await clock.advance(EVERY_S)
        assert outcomes.expect("default", "x", "cheap").turns == 0
        await clock.advance(EVERY_S)
        assert outcomes.expect("default", "x", "cheap").turns == 1
        await outcomes.close()

    async def test_begins_anew_at_the_end_of_another_log(self) -> None:
        records, restored = EphemeralRecords(), EphemeralRecords()
        await records.append(ended())
        outcomes = outcomes_of(records)
        await outcomes.catch_up()
        outcomes.reader = restored
        await outcomes.catch_up()
        await restored.append(ended())
        await outcomes.catch_up()
        assert outcomes.expect("default", "x", "cheap").turns == 2


class WrittenMeanwhile:
    """A reader of a log to which somebody else writes a turn as soon as its end is known."""

    def __init__(self, records: EphemeralRecords, turn: Interaction) -> None:
        self.records, self.turn = records, turn

    def __getattr__(self, name: str) -> Any:
        return getattr(self.records, name)

    async def end(self) -> str:
        end = await self.records.end()
        await self.records.append(self.turn)
        return end


def outcomes_of(reader: Any) -> Outcomes:
    return Outcomes(Tally(10), reader, SystemClock(), timedelta(days=1))


def rated(turn: Interaction, rating: int) -> Feedback:
    at = SystemClock().now()
    return Feedback(id=uuid7(), turn_id=turn.id, group="default", rating=rating, actor="kim", at=at)


class TestRouteOfSeveralModels:
    DESTINATION = Destination(name="x", models=("dear", "cheap"))

    def taken(self, turn: Turn) -> str:
        return self.DESTINATION.route(turn, confidence=1.0, reason="r").target

    async def test_takes_the_first_when_nobody_chooses(self) -> None:
        assert self.taken(make_turn(application=application_of())) == "dear"

    async def test_takes_the_cheapest_good_one_that_is_well(self) -> None:
        pulses = Pulses(HealthTable(failures=1), ManualClock())
        quality = QualityRouter(QualityTable(), outcomes_of(EphemeralRecords()))
        turn = make_turn(application=application_of(quality, HealthRouter(pulses)))
        assert self.taken(turn) == "cheap"
        await pulses.receive(ended(attempt("cheap", "upstream_timeout")))
        route = self.DESTINATION.route(turn, confidence=1.0, reason="r")
        assert route.target == "dear"
        assert [c.target for c in route.candidates] == ["dear", "cheap"]
        assert "rests for 30 s" in route.candidates[1].reason


class TestHealth:
    async def test_a_spare_answers_for_a_default_that_is_not_well(self) -> None:
        clock = ManualClock()
        router = HealthRouter(Pulses(HealthTable(), clock))
        fallbacks = {"cheap": ("dear", "unknown")}
        turn = make_turn(application=application_of(default="cheap", fallbacks=fallbacks))
        assert await router.route(turn) is None
        for _ in range(3):
            await router.pulses.receive(ended(attempt("cheap", "upstream_overloaded")))
        route = await router.route(turn)
        assert route is not None
        assert route.target == "dear"
        assert "cheap failed 3 times in a row" in route.reason
        await clock.advance(31)
        assert await router.route(turn) is None

    async def test_a_rejected_request_is_not_the_model_s_fault(self) -> None:
        pulses = Pulses(HealthTable(failures=1), ManualClock())
        await pulses.receive(ended(attempt("m", "upstream_rejected")))
        assert not pulses.resting_s("m")

    async def test_a_slow_model_is_put_last(self) -> None:
        router = HealthRouter(Pulses(HealthTable(slow_s=2), ManualClock()))
        await router.pulses.receive(ended(attempt("m", first_token_s=3.0), attempt("n")))
        assert [s.model for s in router.rank(make_turn(), ["m", "n"], "")] == ["n", "m"]


class Cooldowns(RuleBasedStateMachine):
    """A model rests after failures in a row, ever longer, until a success."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.clock = ManualClock()
        self.pulses = Pulses(
            HealthTable(failures=3, cooldown_s=10, longest_cooldown_s=40), self.clock
        )
        self.failures = 0
        self.rests: list[float] = []

    def teardown(self) -> None:
        self.runner.close()

    def tell(self, code: str | None) -> None:
        self.runner.run(self.pulses.receive(ended(attempt("m", code))))

    @rule()
    def succeed(self) -> None:
        self.tell(None)
        self.failures, self.rests = 0, []

    @rule()
    def fail(self) -> None:
        self.tell("upstream_cut")
        self.failures += 1
        if self.failures >= 3:
            self.rests.append(self.pulses.resting_s("m"))

    @precondition(lambda self: self.pulses.resting_s("m") > 0)
    @rule()
    def wait(self) -> None:
        self.runner.run(self.clock.advance(self.pulses.resting_s("m")))

    @invariant()
    def rests_as_long_as_it_failed(self) -> None:
        assert self.rests == [min(10 * 2**n, 40) for n in range(len(self.rests))]
        if self.failures < 3:
            assert not self.pulses.resting_s("m")


TestCooldowns = Cooldowns.TestCase
TestCooldowns.settings = settings(max_examples=20, stateful_step_count=15, deadline=None)
