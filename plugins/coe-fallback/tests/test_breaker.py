"""The breaker against a plain model of it, whatever happens in whatever order."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from coe_fallback.breaker import PREFIX, Breaker, Breakers, Rules
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from coe_core.codec import structure, unstructure
from coe_core.error import (
    ContextTooLong,
    UpstreamCut,
    UpstreamDenied,
    UpstreamOverloaded,
    UpstreamRejected,
)
from coe_core.testing import ManualClock, MemoryStateStore
from coe_core.testing.clock import EPOCH

RULES = Rules(failures=3, open_s=10.0, longest_open_s=35.0, probe_s=5.0)


class BreakerMachine(RuleBasedStateMachine):
    """The model keeps three numbers on a clock of seconds, and follows the pattern's prose."""

    @initialize()
    def begin(self) -> None:
        self.clock = ManualClock()
        self.store = MemoryStateStore()
        self.breakers = Breakers(self.clock, self.store, RULES)
        self.in_a_row = 0
        self.open_until: float | None = None
        self.next_open_s = RULES.open_s
        self.probing_until = 0.0

    @property
    def now_s(self) -> float:
        return self.clock.monotonic_s()

    @property
    def state(self) -> str:
        if self.open_until is None:
            return "closed"
        return "open" if self.now_s < self.open_until else "half_open"

    def admits(self) -> bool:
        if self.state == "half_open":
            return self.now_s >= self.probing_until
        return self.state == "closed"

    @rule(seconds=st.integers(1, 40))
    def wait(self, seconds: int) -> None:
        asyncio.run(self.clock.advance(seconds))

    @precondition(lambda self: self.admits())
    @rule()
    def call(self) -> None:
        if self.state == "half_open":
            self.probing_until = self.now_s + RULES.probe_s
        self.breakers.enter("m")

    @rule()
    def succeed(self) -> None:
        asyncio.run(self.breakers.note("m", None))
        if self.state != "open":
            self.in_a_row, self.open_until, self.next_open_s = 0, None, RULES.open_s
            self.probing_until = 0.0

    @rule(pause_s=st.none() | st.floats(1, 100))
    def fail(self, pause_s: float | None) -> None:
        error = (
            UpstreamCut("x") if pause_s is None else UpstreamOverloaded("x", retry_after_s=pause_s)
        )
        asyncio.run(self.breakers.note("m", error))
        asked = self.now_s + min(pause_s or 0.0, RULES.longest_open_s)
        self.in_a_row += 1
        if self.state == "open":
            assert self.open_until is not None
            self.open_until = max(self.open_until, asked)
        elif self.state == "half_open" or self.in_a_row >= RULES.failures or pause_s:
            self.open_until = max(asked, self.now_s + self.next_open_s)
            self.next_open_s = min(RULES.longest_open_s, self.next_open_s * 2)
            self.probing_until = 0.0

    @rule(error=st.sampled_from([UpstreamRejected("x"), ContextTooLong("x")]))
    def ask_for_what_cannot_be(self, error: Any) -> None:
        asyncio.run(self.breakers.note("m", error))

    @invariant()
    def agree(self) -> None:
        if not hasattr(self, "clock"):
            return
        assert self.breakers.admits("m") == self.admits()
        shown = self.breakers.standing().get("m", {"state": "closed"})
        assert shown["state"] == self.state

    @invariant()
    def the_store_knows_who_is_open(self) -> None:
        if not hasattr(self, "clock"):
            return
        stored = asyncio.run(self.store.get(f"{PREFIX}m")).value
        assert (stored is None) == (self.open_until is None)
        if self.open_until is not None:
            assert structure(stored, Breaker).until == EPOCH + timedelta(seconds=self.open_until)

    def teardown(self) -> None:
        if hasattr(self, "clock"):
            assert self.breakers.admits("another")


TestBreaker = BreakerMachine.TestCase
TestBreaker.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)


async def test_one_call_tries_and_the_others_wait() -> None:
    clock = ManualClock()
    breakers = Breakers(clock, MemoryStateStore(), RULES)
    await breakers.note("m", UpstreamDenied("401"))
    assert not breakers.admits("m")
    await clock.advance(RULES.open_s)
    assert breakers.admits("m")
    breakers.enter("m")
    assert not breakers.admits("m")
    await breakers.note("m", None)
    assert breakers.admits("m")
    assert breakers.standing() == {}


@pytest.mark.parametrize("rounds", [1, 2, 3, 50])
def test_it_stays_open_twice_as_long_each_time_but_not_for_ever(rounds: int) -> None:
    breaker, now = Breaker(), EPOCH
    for _ in range(rounds):
        breaker = breaker.failed(now, RULES, pause_s=0.1)
        assert breaker.until is not None
        open_s, now = (breaker.until - now).total_seconds(), breaker.until
    assert open_s == min(10.0 * 2 ** (rounds - 1), 35.0)
    assert structure(unstructure(breaker), Breaker) == breaker
