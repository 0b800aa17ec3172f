"""Money: a group never spends more than its budget, whoever spends it and whoever dies."""

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from coe_core.budget import LEASE_TIME, BudgetBook, Reservation
from coe_core.error import BudgetExceeded
from coe_core.model import Price, Usage
from coe_core.service import Versioned
from coe_core.testing.memory import MemoryStateStore

from .conftest import SetClock

LIMIT = Decimal(10)
COSTS = st.decimals("0.0001", "3", places=4)


class Spending(RuleBasedStateMachine):
    """Several workers reserve, settle at or below the reservation, die, and come back."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = SetClock()
        self.store = MemoryStateStore()
        self.books = [BudgetBook(self.store, self.clock) for _ in range(3)]
        self.open: list[tuple[int, Reservation]] = []
        self.spent = Decimal(0)

    @rule(worker=st.integers(0, 2), amount=COSTS)
    def reserve(self, worker: int, amount: Decimal) -> None:
        budget = self.books[worker].budget("team", LIMIT)
        try:
            self.open.append((worker, asyncio.run(budget.reserve(amount))))
        except BudgetExceeded:
            return

    @precondition(lambda self: self.open)
    @rule(share=st.decimals(0, 1, places=2), data=st.data())
    def settle(self, share: Decimal, data: st.DataObject) -> None:
        _, reservation = self.open.pop(data.draw(st.integers(0, len(self.open) - 1)))
        cost = reservation.amount_usd * share
        assert reservation.settle(cost) == 0
        assert reservation.settle(cost) == 0
        self.spent += cost

    @rule(worker=st.integers(0, 2))
    def die(self, worker: int) -> None:
        """What it reserved is spent for all anybody knows."""
        self.spent += sum((r.amount_usd for w, r in self.open if w == worker), Decimal(0))
        self.open = [(w, r) for w, r in self.open if w != worker]
        self.books[worker] = BudgetBook(self.store, self.clock)

    @rule(seconds=st.integers(1, 2 * int(LEASE_TIME.total_seconds())))
    def wait(self, seconds: int) -> None:
        """Workers that live renew in time, as their turns make them."""
        self.clock.at += timedelta(seconds=min(seconds, int(LEASE_TIME.total_seconds()) // 2))
        for book in self.books:
            try:
                asyncio.run(book.budget("team", LIMIT).reserve(Decimal(0))).settle(Decimal(0))
            except BudgetExceeded:
                continue

    @invariant()
    def within_the_budget(self) -> None:
        promised = sum((r.amount_usd for _, r in self.open), Decimal(0))
        assert self.spent + promised <= LIMIT


TestSpending = Spending.TestCase
TestSpending.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


async def test_the_whole_budget_can_be_spent_and_not_a_cent_more() -> None:
    book = BudgetBook(MemoryStateStore(), SetClock())
    budget = book.budget("team", LIMIT)
    for _ in range(100):
        (await budget.reserve(Decimal("0.1"))).settle(Decimal("0.1"))
    with pytest.raises(BudgetExceeded, match="0.0000 of its 10 US dollars left") as refused:
        await budget.reserve(Decimal("0.0001"))
    assert refused.value.retry_after_s == timedelta(days=30).total_seconds()
    assert await book.spent_usd("team") == LIMIT


async def test_many_turns_at_once_do_not_overshoot() -> None:
    store, clock = MemoryStateStore(), SetClock()
    books = [BudgetBook(store, clock) for _ in range(4)]

    async def spend(book: BudgetBook) -> Decimal:
        try:
            reservation = await book.budget("team", LIMIT).reserve(Decimal("0.3"))
        except BudgetExceeded:
            return Decimal(0)
        await asyncio.sleep(0)
        reservation.settle(Decimal("0.3"))
        return Decimal("0.3")

    spent = sum(await asyncio.gather(*(spend(books[n % 4]) for n in range(200))))
    assert Decimal(9) <= spent <= LIMIT


async def test_more_than_was_reserved_is_booked_in_full_and_closes_the_budget() -> None:
    book = BudgetBook(MemoryStateStore(), SetClock())
    reservation = await book.budget("team", LIMIT).reserve(Decimal(1))
    assert reservation.settle(Decimal(25)) == Decimal(24)
    assert await book.spent_usd("team") == Decimal(25)
    with pytest.raises(BudgetExceeded):
        await book.budget("team", LIMIT).reserve(Decimal("0.01"))


async def test_a_dead_workers_lease_counts_as_spent() -> None:
    store, clock = MemoryStateStore(), SetClock()
    await BudgetBook(store, clock).budget("team", LIMIT).reserve(Decimal(6))
    clock.at += 2 * LEASE_TIME
    with pytest.raises(BudgetExceeded):
        await BudgetBook(store, clock).budget("team", LIMIT).reserve(Decimal(5))


async def test_a_closed_book_gives_its_lease_back() -> None:
    store, clock = MemoryStateStore(), SetClock()
    book = BudgetBook(store, clock)
    (await book.budget("team", LIMIT).reserve(Decimal(6))).settle(Decimal(1))
    await book.close()
    await BudgetBook(store, clock).budget("team", LIMIT).reserve(Decimal(9))


class SlowStore(MemoryStateStore):
    """Has written, and takes its time to say so."""

    def __init__(self) -> None:
        super().__init__()
        self.wrote, self.goes_on = asyncio.Event(), asyncio.Event()
        self.goes_on.set()

    async def put(self, key: str, value: Any, *, expect: int | None = None) -> Versioned:
        written = await super().put(key, value, expect=expect)
        self.wrote.set()
        await self.goes_on.wait()
        return written


async def test_what_was_spent_is_written_once_though_a_client_leaves_meanwhile() -> None:
    store, clock = SlowStore(), SetClock()
    book = BudgetBook(store, clock)
    budget = book.budget("team", LIMIT)
    (await budget.reserve(Decimal(1))).settle(Decimal(1))
    clock.at += LEASE_TIME / 2
    store.wrote.clear()
    store.goes_on.clear()
    leaving = asyncio.create_task(budget.reserve(Decimal(1)))
    await store.wrote.wait()
    leaving.cancel()
    await asyncio.wait([leaving])
    store.goes_on.set()
    (await budget.reserve(Decimal(2))).settle(Decimal(2))
    await book.close()
    assert await BudgetBook(store, clock).spent_usd("team") == 3


async def test_a_new_month_is_a_new_budget() -> None:
    clock = SetClock()
    book = BudgetBook(MemoryStateStore(), clock)
    (await book.budget("team", LIMIT).reserve(LIMIT)).settle(LIMIT)
    clock.at = datetime(2026, 12, 1, tzinfo=UTC)
    await book.budget("team", LIMIT).reserve(LIMIT)


async def test_groups_do_not_share_a_budget_and_none_is_no_limit() -> None:
    book = BudgetBook(MemoryStateStore(), SetClock())
    (await book.budget("team", LIMIT).reserve(LIMIT)).settle(LIMIT)
    await book.budget("other", LIMIT).reserve(LIMIT)
    await book.budget("free", None).reserve(Decimal(1_000_000))


@given(input_=COSTS, output=COSTS, tokens=st.integers(0, 10**9), cached=st.integers(0, 10**9))
def test_a_cost_is_exact(input_: Decimal, output: Decimal, tokens: int, cached: int) -> None:
    price = Price(input=input_, output=output, cached_input=input_ / 2)
    usage = Usage(input_tokens=tokens + cached, output_tokens=tokens, cached_input_tokens=cached)
    exact = tokens * input_ + cached * input_ / 2 + tokens * output
    assert price.cost_usd(usage) * 1_000_000 == exact
