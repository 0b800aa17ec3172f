"""Breakers of several workers against a plain model of them, whatever happens in any order."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from copy import copy
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from attrs import define, field
from coe_fallback.breaker import FORGOTTEN, Breaker, Breakers, Rules
from coe_fallback.exchange import AGAIN_S, PREFIX, Exchange, read
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from coe_core.codec import structure, unstructure
from coe_core.error import (
    ContextTooLong,
    Unavailable,
    UpstreamCut,
    UpstreamDenied,
    UpstreamOverloaded,
    UpstreamRejected,
)
from coe_core.message import Json
from coe_core.service import Versioned
from coe_core.state import SqliteStateStore
from coe_core.testing import ManualClock, MemoryStateStore
from coe_core.testing.clock import EPOCH

RULES = Rules(failures=3, open_s=10.0, longest_open_s=35.0, probe_s=5.0)
WORKERS = st.sampled_from(range(3))


@define
class Seen:
    """The breaker of one target as the pattern's prose has it: three numbers on a clock."""

    in_a_row: int = 0
    open_until: float | None = None
    next_open_s: float = RULES.open_s
    probing_until: float = 0.0

    def state(self, now_s: float) -> str:
        if self.open_until is None or now_s >= self.open_until + FORGOTTEN.total_seconds():
            return "closed"
        return "open" if now_s < self.open_until else "half_open"

    def admits(self, now_s: float) -> bool:
        if self.state(now_s) == "half_open":
            return now_s >= self.probing_until
        return self.state(now_s) == "closed"

    def shared(self) -> tuple[Any, ...]:
        return self.open_until, self.next_open_s, self.probing_until


@define
class CountingStore(MemoryStateStore):
    writes: int = 0
    is_down: bool = False

    async def put(self, key: str, value: Json, *, expect: int | None = None) -> Versioned:
        if self.is_down:
            raise Unavailable("the store is down")
        self.writes += 1
        return await MemoryStateStore.put(self, key, value, expect=expect)


@define
class Worker:
    exchange: Exchange
    seen: Seen = field(factory=Seen)
    is_untold: bool = False

    @property
    def breakers(self) -> Breakers:
        return self.exchange.breakers


class BreakerMachine(RuleBasedStateMachine):
    """Workers with one store: the model says what each has seen, and what the store has."""

    @initialize()
    def begin(self) -> None:
        self.clock = ManualClock()
        self.store = CountingStore()
        self.workers = [Worker(Exchange(Breakers(self.clock, RULES), self.store)) for _ in range(3)]
        self.stored: Seen | None = None
        self.told = 0

    @property
    def now_s(self) -> float:
        return self.clock.monotonic_s()

    def changes(self, worker: Worker, before: Seen) -> None:
        worker.is_untold |= before.shared() != worker.seen.shared()

    @rule(seconds=st.integers(1, 40) | st.just(3700))
    def wait(self, seconds: int) -> None:
        asyncio.run(self.clock.advance(seconds))

    @rule(number=WORKERS)
    def call(self, number: int) -> None:
        worker = self.workers[number]
        seen, before = worker.seen, copy(worker.seen)
        if not seen.admits(self.now_s):
            return
        if seen.state(self.now_s) == "half_open":
            seen.probing_until = self.now_s + RULES.probe_s
        worker.breakers.enter("m")
        self.changes(worker, before)

    @rule(number=WORKERS)
    def succeed(self, number: int) -> None:
        worker = self.workers[number]
        before = copy(worker.seen)
        worker.breakers.note("m", None)
        if before.state(self.now_s) != "open":
            worker.seen = Seen()
        self.changes(worker, before)

    @rule(number=WORKERS, pause_s=st.none() | st.floats(1, 100))
    def fail(self, number: int, pause_s: float | None) -> None:
        worker = self.workers[number]
        seen, before = worker.seen, copy(worker.seen)
        error = (
            UpstreamCut("x") if pause_s is None else UpstreamOverloaded("x", retry_after_s=pause_s)
        )
        worker.breakers.note("m", error)
        asked, state = (
            self.now_s + min(pause_s or 0.0, RULES.longest_open_s),
            seen.state(self.now_s),
        )
        seen.in_a_row += 1
        if state == "open":
            assert seen.open_until is not None
            seen.open_until = max(seen.open_until, asked)
        elif state == "half_open" or seen.in_a_row >= RULES.failures or pause_s:
            seen.open_until = max(asked, self.now_s + seen.next_open_s)
            seen.next_open_s = min(RULES.longest_open_s, seen.next_open_s * 2)
            seen.probing_until = 0.0
        self.changes(worker, before)

    @rule(number=WORKERS, error=st.sampled_from([UpstreamRejected("x"), ContextTooLong("x")]))
    def ask_for_what_cannot_be(self, number: int, error: Any) -> None:
        self.workers[number].breakers.note("m", error)

    @rule(number=WORKERS)
    def tell(self, number: int) -> None:
        worker = self.workers[number]
        asyncio.run(worker.exchange.tell())
        if worker.is_untold:
            worker.is_untold, self.told = False, self.told + 1
            self.stored = copy(worker.seen) if worker.seen.open_until is not None else None

    @rule(number=WORKERS)
    def hear(self, number: int) -> None:
        worker = self.workers[number]
        worker.exchange.hear(asyncio.run(self.store.list(PREFIX)))
        if worker.is_untold:
            return
        if self.stored is not None:
            worker.seen = copy(self.stored)
        elif worker.seen.open_until is not None:
            worker.seen = Seen()

    @invariant()
    def agree(self) -> None:
        for worker in getattr(self, "workers", ()):
            assert worker.breakers.admits("m") == worker.seen.admits(self.now_s)
            shown = worker.breakers.standing().get("m", {"state": "closed"})
            assert shown["state"] == worker.seen.state(self.now_s)

    @invariant()
    def only_what_others_must_know_is_written(self) -> None:
        if not hasattr(self, "store"):
            return
        assert self.store.writes == self.told
        shared = read(asyncio.run(self.store.list(PREFIX)))
        assert (shared == {}) == (self.stored is None)
        if self.stored is not None and self.stored.open_until is not None:
            assert shared["m"].until == EPOCH + timedelta(seconds=self.stored.open_until)

    def teardown(self) -> None:
        """Once all have told and heard, all have the same."""
        if not hasattr(self, "workers"):
            return
        for number in range(3):
            self.tell(number)
        for number in range(3):
            self.hear(number)
        self.agree()
        openings = {worker.breakers["m"].until for worker in self.workers}
        assert len(openings) == 1
        assert all(worker.breakers.admits("another") for worker in self.workers)


TestBreaker = BreakerMachine.TestCase
TestBreaker.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


async def test_one_call_tries_and_the_others_wait() -> None:
    clock = ManualClock()
    breakers = Breakers(clock, RULES)
    breakers.note("m", UpstreamDenied("401"))
    assert not breakers.admits("m")
    await clock.advance(RULES.open_s)
    assert breakers.admits("m")
    breakers.enter("m")
    assert not breakers.admits("m")
    breakers.note("m", None)
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


@asynccontextmanager
async def working(store: Any, clock: ManualClock) -> AsyncIterator[Breakers]:
    exchange = Exchange(Breakers(clock, RULES), store)
    await exchange.open()
    try:
        yield exchange.breakers
    finally:
        await exchange.close()


async def until(breakers: Breakers, *, admits: bool) -> None:
    async with asyncio.timeout(10):
        while breakers.admits("m") is not admits:
            await asyncio.sleep(0.001)


async def test_workers_with_files_of_their_own_on_one_state_agree(tmp_path: Path) -> None:
    clock = ManualClock()
    one, other = (SqliteStateStore(tmp_path / "state.db") for _ in range(2))
    await one.open()
    await other.open()
    async with working(one, clock) as first, working(other, clock) as second:
        first.note("m", UpstreamDenied("401"))
        await until(second, admits=False)
        await clock.advance(RULES.open_s)
        second.enter("m")
        await until(first, admits=False)
        second.note("m", None)
        await until(first, admits=True)
        first.note("m", UpstreamDenied("401"))
        await until(second, admits=False)
    async with working(other, clock) as restarted:
        assert not restarted.admits("m")
        restarted.note("n", UpstreamDenied("told in the last moment"))
    async with working(one, clock) as restarted:
        assert not restarted.admits("n")
    await one.close()
    await other.close()


async def test_while_the_store_fails_each_worker_decides_and_tells_later() -> None:
    clock, store = ManualClock(), CountingStore()
    async with working(store, clock) as first, working(store, clock) as second:
        store.is_down = True
        first.note("m", UpstreamDenied("401"))
        await clock.advance(AGAIN_S)
        assert not first.admits("m")
        assert second.admits("m")
        store.is_down = False
        await clock.advance(AGAIN_S)
        await until(second, admits=False)
        assert store.writes == 1
