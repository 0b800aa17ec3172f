"""Rates: no minute sees more than the limit, whichever worker admits and whichever dies."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from attrs import define, field
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from coe_core.error import RateLimited, Unavailable
from coe_core.rate import LEASE_S, LEASES_PER_MINUTE, MINUTE_S, RateLimits, RateMeter
from coe_core.service import Versioned
from coe_core.settings import GroupTable
from coe_core.testing.memory import MemoryStateStore

from .conftest import SetClock

WORKERS = st.integers(0, 2)
MOST_TOKENS = 50


class Admitting(RuleBasedStateMachine):
    """Several workers admit requests and book their tokens; some die."""

    @initialize(rpm=st.integers(1, 300), tpm=st.integers(1, 1000))
    def begin(self, rpm: int, tpm: int) -> None:
        self.group = GroupTable(rpm=rpm, tpm=tpm)
        self.clock = SetClock()
        self.store = MemoryStateStore()
        self.meters = [RateMeter(self.store, self.clock) for _ in range(3)]
        self.admitted: list[float] = []
        self.booked: list[tuple[float, int]] = []

    @rule(worker=WORKERS, times=st.integers(1, 200), tokens=st.integers(0, MOST_TOKENS))
    def ask(self, worker: int, times: int, tokens: int) -> None:
        for _ in range(times):
            try:
                limits = asyncio.run(self.meters[worker].admit("team", self.group))
            except RateLimited as refused:
                self.check(refused.limits, refused.retry_after_s)
                return
            now_s = self.clock.monotonic_s()
            self.check(limits)
            used = sum(amount for at, amount in self.booked if at > now_s - MINUTE_S)
            assert self.group.tpm is not None
            # Each of the other workers may have had one request on the last of its lease.
            assert used < self.group.tpm + 2 * MOST_TOKENS
            self.admitted.append(now_s)
            self.booked.append((now_s, tokens))
            asyncio.run(self.meters[worker].book_tokens("team", self.group, tokens))

    @rule(worker=WORKERS)
    def die(self, worker: int) -> None:
        self.meters[worker] = RateMeter(self.store, self.clock)

    @rule(seconds=st.floats(0.01, 90))
    def wait(self, seconds: float) -> None:
        self.clock.at += timedelta(seconds=seconds)

    def check(self, limits: RateLimits | None, wait_s: float | None = 1.0) -> None:
        assert wait_s is not None
        assert 0 < wait_s <= MINUTE_S + LEASE_S + 1
        assert limits is not None
        for rate, limit in ((limits.requests, self.group.rpm), (limits.tokens, self.group.tpm)):
            assert rate is not None
            assert rate.limit == limit
            assert 0 <= rate.remaining <= rate.limit
            assert 0 <= rate.reset_s <= MINUTE_S + LEASE_S + 1

    @invariant()
    def no_minute_has_more_than_its_requests(self) -> None:
        if getattr(self, "admitted", None):
            limit = self.group.rpm or 0
            for first, beyond in zip(self.admitted, self.admitted[limit:], strict=False):
                assert beyond - first >= MINUTE_S


TestAdmitting = Admitting.TestCase
TestAdmitting.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)


def meters(count: int) -> tuple[SetClock, list[RateMeter]]:
    clock, store = SetClock(), MemoryStateStore()
    return clock, [RateMeter(store, clock) for _ in range(count)]


async def admitted(meter: RateMeter, group: GroupTable) -> bool:
    try:
        await meter.admit("team", group)
    except RateLimited:
        return False
    return True


@given(limit=st.integers(1, 400), workers=st.integers(1, 5))
@settings(deadline=None)
def test_a_minute_gets_its_whole_limit(limit: int, workers: int) -> None:
    _, all_of_them = meters(workers)

    async def ask_in_turn() -> int:
        asked = [
            await admitted(all_of_them[n % workers], GroupTable(rpm=limit)) for n in range(500)
        ]
        return sum(asked)

    assert asyncio.run(ask_in_turn()) == limit


async def test_what_idle_workers_hold_is_little() -> None:
    _, (first, *others) = meters(4)
    group = GroupTable(rpm=1000)
    for other in others:
        assert await admitted(other, group)
    count = 0
    while await admitted(first, group):
        count += 1
    assert 1000 - count <= 3 * 1000 // LEASES_PER_MINUTE


async def test_many_at_once_do_not_overshoot() -> None:
    _, workers = meters(3)
    asked = await asyncio.gather(
        *(admitted(workers[n % 3], GroupTable(rpm=50)) for n in range(300))
    )
    assert sum(asked) == 50


async def test_a_refusal_says_when_to_come_again_and_keeps_its_word() -> None:
    clock, (meter, other) = meters(2)
    group = GroupTable(rpm=2)
    limits = await meter.admit("team", group)
    assert limits is not None
    assert limits.tokens is None
    assert limits.requests is not None
    assert (limits.requests.limit, limits.requests.remaining) == (2, 1)
    assert await admitted(other, group)
    with pytest.raises(RateLimited, match="has used its 2 requests per minute") as refused:
        await meter.admit("team", group)
    assert refused.value.limits is not None
    assert refused.value.limits.requests is not None
    assert refused.value.limits.requests.remaining == 0
    assert refused.value.retry_after_s == pytest.approx(MINUTE_S)
    assert await meter.admit("other", group) is not None
    clock.at += timedelta(seconds=refused.value.retry_after_s)
    assert await admitted(meter, group)


async def test_tokens_are_booked_after_the_fact_and_seen_by_all() -> None:
    clock, (meter, other) = meters(2)
    group = GroupTable(tpm=600)
    assert await admitted(meter, group)
    await meter.book_tokens("team", group, 700)
    assert not await admitted(other, group)
    assert not await admitted(meter, group)
    clock.at += timedelta(seconds=MINUTE_S)
    assert await admitted(other, group)


async def test_what_is_over_the_tokens_is_no_request() -> None:
    clock, (meter,) = meters(1)
    await meter.book_tokens("team", GroupTable(tpm=1), 5)
    for _ in range(3):
        assert not await admitted(meter, GroupTable(rpm=1, tpm=1))
    clock.at += timedelta(seconds=MINUTE_S)
    assert await admitted(meter, GroupTable(rpm=1, tpm=1))


async def test_another_limit_counts_at_once() -> None:
    clock, (meter,) = meters(1)
    assert [await admitted(meter, GroupTable(rpm=2)) for _ in range(3)] == [True, True, False]
    clock.at += timedelta(seconds=1)
    assert [await admitted(meter, GroupTable(rpm=4)) for _ in range(3)] == [True, True, False]


async def test_few_requests_cost_a_write() -> None:
    _, (meter,) = meters(1)
    store: Any = meter.store
    for _ in range(3000):
        assert await admitted(meter, GroupTable(rpm=3000))
    assert store._writes == LEASES_PER_MINUTE
    writes = store._writes
    for _ in range(100):
        assert not await admitted(meter, GroupTable(rpm=3000))
    assert store._writes <= writes + 1


@define
class Hindered(MemoryStateStore):
    """A store whose writes wait, or fail."""

    writing: asyncio.Event = field(factory=asyncio.Event)
    go: asyncio.Event = field(factory=asyncio.Event)
    broken: bool = False

    async def put(self, key: str, value: Any, *, expect: int | None = None) -> Versioned:
        if self.broken:
            raise Unavailable("the disk is full")
        written = await super().put(key, value, expect=expect)
        self.writing.set()
        await self.go.wait()
        return written


async def test_a_client_that_leaves_while_a_lease_is_written_leaves_it_behind() -> None:
    store = Hindered()
    meter = RateMeter(store, SetClock())
    leaving = asyncio.create_task(admitted(meter, GroupTable(rpm=1)))
    await store.writing.wait()
    leaving.cancel()
    await asyncio.wait([leaving])
    store.go.set()
    assert [await admitted(meter, GroupTable(rpm=1)) for _ in range(2)] == [True, False]


async def test_tokens_that_cannot_be_booked_are_booked_later() -> None:
    store = Hindered(broken=True)
    store.go.set()
    meter = RateMeter(store, SetClock())
    await meter.book_tokens("team", GroupTable(tpm=10), 20)
    with pytest.raises(Unavailable):
        await meter.admit("team", GroupTable(tpm=10))
    store.broken = False
    assert not await admitted(meter, GroupTable(tpm=10))
    assert not await admitted(RateMeter(store, meter.clock), GroupTable(tpm=10))
