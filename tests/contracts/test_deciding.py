"""Suites of what decides: routers, policies, guards, authenticators, experiments, prompt packs."""

import asyncio
import itertools
import random
from decimal import Decimal
from typing import Any

from attrs import evolve

from coe_core import Arm, Continue, Credentials, GuardVerdict, Principal, Retry, Route, Switch
from coe_core.card import Judgement
from coe_core.error import Unauthenticated
from coe_core.scaffold.kinds.attempt_policy import ExampleAttemptPolicy
from coe_core.scaffold.kinds.authenticator import ExampleAuthenticator
from coe_core.scaffold.kinds.experiment import ExampleExperiment
from coe_core.scaffold.kinds.guard import ExampleGuard
from coe_core.scaffold.kinds.promotion_policy import ExamplePromotionPolicy
from coe_core.scaffold.kinds.prompt_pack import ExamplePromptPack
from coe_core.scaffold.kinds.router import ExampleRouter
from coe_core.testing import (
    AttemptPolicyContract,
    AuthenticatorContract,
    ExperimentContract,
    GuardContract,
    PromotionPolicyContract,
    PromptPackContract,
    ResiliencePolicyContract,
    RouterContract,
)
from coe_core.turn import ALLOW

from .seeding import SHARED, clings, counts, fails, gives, proving

ROUTE = Route(model="m", reason="because")


class Remembering(ExampleRouter):
    """Keeps the turn in the router while it waits, so that another turn overwrites it."""

    async def route(self, turn: Any) -> Route:
        self.rules["text"] = turn.id
        await asyncio.sleep(0)
        return Route(model="m", reason=self.rules["text"])


class Leaving(ExampleRouter):
    async def route(self, turn: Any) -> None:
        self.rules["task"] = asyncio.create_task(asyncio.sleep(3600))  # type: ignore[assignment]


def test_router() -> None:
    async def meddle(_: Any, turn: Any) -> None:
        turn.request.extra["seen"] = True

    async def trip(_: Any, turn: Any) -> Route:
        return Route(model="m", reason=turn.request.text.encode("ascii").decode())

    async def no_turn(_: Any) -> None:
        """Take nothing."""

    names = map("router-{}".format, itertools.count())
    with proving(RouterContract, ExampleRouter, exempt=set()) as bug:
        bug("test_fulfils_the_contract", "'route' is not async", route=lambda self, turn: None)
        bug("test_fulfils_the_contract", "it has no 'route'", object)
        bug("test_fulfils_the_contract", "cannot be called", route=no_turn)
        bug("test_has_a_lasting_name", "name is None", name=None)
        bug("test_has_a_lasting_name", "no blanks around", name=" router ")
        bug("test_has_a_lasting_name", "it may not change", lambda: ExampleRouter({}, next(names)))
        bug("test_decides_or_declines", "return a coe_core.Route", route=gives({"model": "m"}))
        bug("test_decides_or_declines", "cancel it in close() and await it", Leaving)
        not_ascii = "ordinal not in range"
        bug("test_decides_or_declines", not_ascii, route=trip, raises=UnicodeEncodeError)
        wrong = evolve(ROUTE, confidence=80)
        bug("test_says_how_sure_it_is_and_why", "it is a share", route=gives(wrong))
        bug("test_says_how_sure_it_is_and_why", "why", route=gives(Route(model="m")))
        bug("test_leaves_the_turn_alone", "use attrs.evolve", route=meddle)
        flip = counts(lambda n: ROUTE if n % 2 else None)
        bug("test_decides_alike", "deterministic = False", route=flip)
        bug("test_decides_many_at_once", "keep nothing of a turn", Remembering)
        bug("test_lets_itself_be_cancelled", "swallow it", route=clings())


def test_router_that_learns_may_say_so() -> None:
    class Learning(ExampleRouter):
        async def route(self, turn: Any) -> Route:
            return Route(model=random.choice("ab"), reason="a lot was drawn")

    with proving(RouterContract, Learning, exempt={*dir(RouterContract)}, deterministic=False):
        pass


def test_attempt_policy() -> None:
    async def meddle(_: Any, turn: Any, failure: Any) -> None:
        turn.headers["seen"] = "yes"

    async def continue_always(_: Any, turn: Any, failure: Any) -> Continue:
        return Continue(model=failure.model, messages=turn.request.messages)

    with proving(AttemptPolicyContract, ExampleAttemptPolicy) as bug:
        first = "test_decides_or_declines"
        bug(first, "return Retry, Switch", after_failure=gives("retry"))
        bug(first, "a client is there", after_failure=gives(Retry(after_s=3600)))
        bug(first, "Retry after nan", after_failure=gives(Retry(after_s=float("nan"))))
        bug(first, "no messages", after_failure=gives(Continue(model="m", messages=())))
        bug("test_says_nothing_twice", "failure.started", after_failure=gives(Switch(model="m")))
        bug("test_repeats_only_what_may_succeed", "retryable", after_failure=gives(Retry()))
        bug("test_comes_to_an_end", "count `failure.attempts`", after_failure=continue_always)
        bug("test_lets_itself_be_cancelled", "swallow it", after_failure=clings())
        bug("test_lets_itself_be_cancelled", "use attrs.evolve", after_failure=meddle)


class Steadfast(ExampleAttemptPolicy):
    """The example, with what a resilience policy has beside it."""

    def holds(self, turn: Any) -> str:
        return "unfinished"

    def instead(self, turn: Any, model: str, fallbacks: Any) -> None:
        return None

    async def note(self, turn: Any, attempt: Any, error: Any) -> None:
        return None

    async def last_resort(self, turn: Any, failure: Any) -> Switch | None:
        return None if failure.started else Switch(model="m")


def test_resilience_policy() -> None:
    moods = itertools.cycle(["nothing", "everything"])

    async def meddle(_: Any, turn: Any, attempt: Any, error: Any) -> None:
        turn.headers["seen"] = "yes"

    exempt = SHARED | {*dir(AttemptPolicyContract)}
    with proving(ResiliencePolicyContract, Steadfast, exempt=exempt) as bug:
        bug("test_says_what_is_held", "return one of nothing", holds=lambda *_: "some")
        bug("test_says_what_is_held", "of the same turn", holds=lambda *_: next(moods))
        bug("test_names_another_target", "return an alias", instead=lambda *_: Switch(model="m"))
        bug("test_takes_any_news", "use attrs.evolve", note=meddle)
        bug("test_takes_any_news", "m", note=fails(KeyError("m")), raises=KeyError)
        last = "test_the_last_resort_says_nothing_twice"
        bug(last, "failure.started", last_resort=gives(Switch(model="m")))
        bug(last, "no messages", last_resort=gives(Continue(model="m", messages=())))


def test_guard() -> None:
    async def doubles(_: Any, turn: Any, step: str, text: str) -> GuardVerdict:
        return GuardVerdict(verdict="redact", text=f"*{text}", reason="stars")

    async def meddle(_: Any, turn: Any, step: str, text: str) -> GuardVerdict:
        turn.headers["seen"] = text
        return ALLOW

    async def changes_silently(_: Any, turn: Any, step: str, text: str) -> GuardVerdict:
        return GuardVerdict(text=f"*{text}")

    key = "sk-synthetic-0123456789"
    with proving(GuardContract, ExampleGuard, catches=(key,)) as bug:
        bug("test_wants_known_steps", "never asked", steps=frozenset())
        bug("test_wants_known_steps", "['reply'] are unknown", steps=frozenset({"reply"}))
        judges = "test_judges_any_text"
        bug(judges, "return coe_core.ALLOW", inspect=gives(None))
        bug(judges, 'says verdict="redact"', inspect=changes_silently)
        bug(judges, "no text to go on", inspect=gives(GuardVerdict(verdict="redact")))
        bug(judges, "no reason", inspect=gives(GuardVerdict(verdict="refuse")))
        unknown: Any = "maybe"
        bug(judges, "say allow, redact or refuse", inspect=gives(GuardVerdict(verdict=unknown)))
        bug("test_is_content_with_its_own_redaction", "and of that", inspect=doubles)
        bug("test_catches_what_it_is_for", "passed the step", inspect=gives(ALLOW))
        bug("test_catches_what_it_is_for", "is still in", inspect=doubles)
        refusal = GuardVerdict(verdict="refuse", reason="odd")
        flip = counts(lambda n: ALLOW if n % 2 else refusal)
        bug("test_judges_alike", "then GuardVerdict", inspect=flip)
        bug("test_judges_alike", "use attrs.evolve", inspect=meddle)
        bug("test_lets_itself_be_cancelled", "swallow it", inspect=clings(ALLOW))


def test_authenticator() -> None:
    async def tell(_: Any, credentials: Credentials) -> None:
        raise Unauthenticated(f"the key {credentials.token} is unknown")

    def valid(self: Any, authenticator: Any) -> Credentials:
        return Credentials(client_host="127.0.0.1", headers={"x-forwarded-group": "research"})

    member = Principal(group="research")
    with proving(AuthenticatorContract, ExampleAuthenticator, valid=valid) as bug:
        first = "test_knows_refuses_or_declines"
        bug(first, "raise Unauthenticated, or return None", authenticate=fails(KeyError("x")))
        bug(first, "return coe_core.Principal", authenticate=gives("research"))
        bug(first, "no group", authenticate=gives(evolve(member, group="")))
        bug(first, "there are viewer", authenticate=gives(evolve(member, role="boss")))
        bug("test_reveals_no_token", "name the key's public id", authenticate=tell)
        bug("test_lets_the_right_ones_in", "were declined", authenticate=gives(None))
        several = counts(lambda n: evolve(member, user=str(n)))
        bug("test_lets_the_right_ones_in", "several principals", authenticate=several)
        bug("test_lets_itself_be_cancelled", "swallow it", authenticate=clings())


def test_promotion_policy() -> None:
    def numbered(_: Any, card: Any, now: Any) -> Judgement:
        return Judgement(decision="keep", reasons=(str(next(numbers)),))

    numbers = itertools.count()
    with proving(PromotionPolicyContract, ExamplePromotionPolicy) as bug:
        first = "test_judges_with_reasons"
        bug(first, "return coe_core.Judgement", judge=lambda *_: "keep")
        unknown: Any = "archive"
        bug(first, "promote, hold", judge=lambda *_: Judgement(decision=unknown, reasons=("x",)))
        bug(first, "people review it", judge=lambda *_: Judgement(decision="keep", reasons=()))
        bug(first, "a reason is empty", judge=lambda *_: Judgement(decision="keep", reasons=("",)))
        bug("test_judges_alike", "take the time from `now`", judge=numbered)


def test_experiment() -> None:
    def arm(**fields: Any) -> Any:
        made = Arm(**({"name": "a", "weight": Decimal(1), "params": {}} | fields))
        return lambda *_: made

    def by_turn(_: Any, turn_id: str, session_id: str, group: str) -> Arm:
        return arm(name=turn_id[-1])()

    def lopsided(_: Any, turn_id: str, session_id: str, group: str) -> Arm:
        return arm(name="a" if session_id[-1] in "0123456789ab" else "b", weight=Decimal("0.5"))()

    with proving(ExperimentContract, ExampleExperiment) as bug:
        bug("test_assigns_an_arm_or_none", "return coe_core.Arm", assign=lambda *_: "a")
        bug("test_assigns_an_arm_or_none", "no name", assign=arm(name=""))
        bug("test_assigns_an_arm_or_none", "weight 0", assign=arm(weight=Decimal(0)))
        bug("test_assigns_an_arm_or_none", "not JSON", assign=arm(params={"a": {1, 2}}))
        bug("test_keeps_a_session_in_its_arm", "hash of the session's id", assign=by_turn)
        bug("test_follows_the_weights", "whose weight is a share", assign=lopsided)


def test_prompt_pack() -> None:
    def formats(_: Any, turn: Any, *, light: bool) -> str:
        return f"You answer: {turn.request.text}".format(turn=turn)

    with proving(PromptPackContract, ExamplePromptPack) as bug:
        bug("test_has_a_version", "make it a text", version=1)
        bug("test_has_a_version", "whenever a template changes", version="")
        bug("test_renders_for_any_turn", "or None for none", system=lambda *_, light: "")
        bug("test_renders_for_any_turn", "rendered 7", tool_guide=lambda *_, light: 7)
        bug("test_renders_for_any_turn", "name", system=formats, raises=KeyError)
        inflated = lambda *_, light: "long" * (1 + light)  # noqa: E731
        bug("test_is_shorter_when_light", "for small models", system=inflated)
        numbers = itertools.count()
        bug("test_renders_alike", "rendered '", system=lambda *_, light: str(next(numbers)))
