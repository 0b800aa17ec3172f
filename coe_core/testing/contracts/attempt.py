"""The laws of attempt policies."""

from __future__ import annotations

import math

from attrs import evolve
from hypothesis import strategies as st

from coe_core.contract import (
    AttemptPolicy,
    Continue,
    Failure,
    GiveUp,
    ResiliencePolicy,
    Retry,
    Switch,
    Verdict,
)
from coe_core.error import UpstreamRejected
from coe_core.resilience import CAREFUL
from coe_core.testing.contracts.component import (
    ComponentContract,
    survives_cancellation,
    untouched,
)
from coe_core.testing.contracts.law import law
from coe_core.testing.strategies import failures, names, turns
from coe_core.turn import Turn

LONGEST_PAUSE_S = 300.0
ENOUGH = 50
"""So many attempts at one answer are a loop."""


class AttemptPolicyContract(ComponentContract[AttemptPolicy]):
    """What holds of every attempt policy, whatever fails."""

    contract = AttemptPolicy

    @law(turn=turns(), failure=failures())
    async def test_decides_or_declines(
        self, policy: AttemptPolicy, turn: Turn, failure: Failure
    ) -> None:
        """Any failure gets a verdict or None."""
        verdict = await policy.after_failure(turn, failure)
        assert verdict is None or isinstance(verdict, Verdict), (
            f"after_failure() returned {verdict!r}; return Retry, Switch, Continue, GiveUp, "
            "or None to leave it to the next policy"
        )
        if isinstance(verdict, Retry):
            assert math.isfinite(verdict.after_s), f"Retry after {verdict.after_s} s"
            assert 0 <= verdict.after_s <= LONGEST_PAUSE_S, (
                f"Retry after {verdict.after_s} s; wait 0 to {LONGEST_PAUSE_S:g}, a client is there"
            )
        if isinstance(verdict, Continue):
            assert verdict.messages, "Continue has no messages to send"

    @law(turn=turns(), failure=failures())
    async def test_says_nothing_twice(
        self, policy: AttemptPolicy, turn: Turn, failure: Failure
    ) -> None:
        """Once the client has seen something, an answer is continued or ends: from the beginning
        again it would be seen twice.
        """
        verdict = await policy.after_failure(turn, evolve(failure, started=True))
        assert not isinstance(verdict, Retry | Switch), (
            f"{verdict!r} after the client has seen {failure.text!r}; look at `failure.started`"
        )

    @law(turn=turns(), failure=failures())
    async def test_repeats_only_what_may_succeed(
        self, policy: AttemptPolicy, turn: Turn, failure: Failure
    ) -> None:
        """An error that is not retryable is not retried."""
        failure = evolve(failure, error=UpstreamRejected("the request itself is at fault"))
        verdict = await policy.after_failure(turn, failure)
        assert not isinstance(verdict, Retry), (
            "retries an UpstreamRejected, which will fail again: look at `failure.error.retryable`"
        )

    @law(turn=turns(), failure=failures())
    async def test_comes_to_an_end(
        self, policy: AttemptPolicy, turn: Turn, failure: Failure
    ) -> None:
        """When everything fails, the policy gives up or declines at some time."""
        for _ in range(ENOUGH):
            match await policy.after_failure(turn, failure):
                case None | GiveUp():
                    return
                case Retry():
                    model = failure.model
                case Switch(model=model) | Continue(model=model):
                    pass
            failure = evolve(
                failure,
                model=model,
                attempts=(*failure.attempts, evolve(failure.attempts[-1], model=model)),
                fallbacks=tuple(name for name in failure.fallbacks if name != model),
            )
        raise AssertionError(
            f"after {ENOUGH} failed attempts it still goes on; count `failure.attempts`"
        )

    @law(turn=turns(), failure=failures(), steps=st.integers(0, 3))
    async def test_lets_itself_be_cancelled(
        self, policy: AttemptPolicy, turn: Turn, failure: Failure, steps: int
    ) -> None:
        """A client that goes away cancels the decision, and the turn is left alone."""
        with untouched(turn):
            await survives_cancellation(policy.after_failure(turn, failure), steps)


class ResiliencePolicyContract(AttemptPolicyContract):
    """What holds, beside that, of an attempt policy that is asked before a call and after the
    last one.
    """

    contract = ResiliencePolicy

    @law(turn=turns())
    async def test_says_what_is_held(self, policy: ResiliencePolicy, turn: Turn) -> None:
        """What is kept back is one of the known things, and the same within a turn."""
        held = policy.holds(turn)
        assert held in CAREFUL, f"holds() returned {held!r}; return one of {', '.join(CAREFUL)}"
        again = policy.holds(turn)
        assert again == held, f"holds() said {held!r}, then {again!r} of the same turn"

    @law(turn=turns(), failure=failures())
    async def test_names_another_target(
        self, policy: ResiliencePolicy, turn: Turn, failure: Failure
    ) -> None:
        """What is called instead is an alias, or None for the target itself."""
        other = policy.instead(turn, failure.model, failure.fallbacks)
        assert other is None or isinstance(other, str), (
            f"instead() returned {other!r}; return an alias, or None to call the target"
        )

    @law(turn=turns(), failure=failures(), model=names())
    async def test_takes_any_news(
        self, policy: ResiliencePolicy, turn: Turn, failure: Failure, model: str
    ) -> None:
        """It is told of every attempt, of models it never heard of too, and leaves the turn
        alone.
        """
        attempt = evolve(failure.attempts[-1], model=model)
        with untouched(turn):
            await policy.note(turn, attempt, failure.error)
            await policy.note(turn, evolve(attempt, outcome="ok", error_code=None), None)

    @law(turn=turns(), failure=failures())
    async def test_the_last_resort_says_nothing_twice(
        self, policy: ResiliencePolicy, turn: Turn, failure: Failure
    ) -> None:
        """Once the client has seen something, the last resort goes on from there or declines."""
        verdict = await policy.last_resort(turn, evolve(failure, started=True))
        assert verdict is None or isinstance(verdict, Continue), (
            f"last_resort() returned {verdict!r} after the client has seen {failure.text!r}; "
            "return Continue or None: look at `failure.started`"
        )
        assert verdict is None or verdict.messages, "Continue has no messages to send"
