"""Slots, lent to groups in turn."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest
from coe_models_local.slot import Slots


async def test_the_groups_take_turns() -> None:
    slots, served = Slots.of(1), []

    async def answer(group: str) -> None:
        async with slots.take(group):
            served.append(group)

    async with asyncio.TaskGroup() as tasks, slots.take("busy"):
        for group in ("greedy", "greedy", "greedy", "modest", "shy"):
            tasks.create_task(answer(group))
        await asyncio.sleep(0)  # now all of them wait
    assert served == ["greedy", "modest", "shy", "greedy", "greedy"]


async def test_no_more_than_there_are() -> None:
    slots, running, most = Slots.of(2), 0, 0

    async def answer(group: str) -> None:
        nonlocal running, most
        async with slots.take(group):
            running += 1
            most = max(most, running)
            await asyncio.sleep(0)
            running -= 1

    await asyncio.gather(*(answer(f"group {number % 3}") for number in range(20)))
    assert most == 2


async def test_a_cache_is_read_by_its_own_group_only() -> None:
    slots = Slots.of(1)
    for group, is_warm in [("a", False), ("a", True), ("b", False), ("a", False)]:
        async with slots.take(group) as lease:
            assert lease.is_warm is is_warm


async def test_a_group_gets_its_own_slot_back() -> None:
    slots = Slots.of(2)
    async with slots.take("a") as first, slots.take("b") as second:
        assert first.number != second.number
    for group, number in [("b", second.number), ("a", first.number), ("b", second.number)]:
        async with slots.take(group) as lease:
            assert (lease.number, lease.is_warm) == (number, True)


async def test_who_gives_up_waiting_leaves_the_queue() -> None:
    slots = Slots.of(1)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(slots.take("a"))
        waiting = asyncio.create_task(stack.enter_async_context(slots.take("b")))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert not slots._queue
    async with slots.take("c"):
        pass


async def test_a_slot_lent_to_one_who_gives_up_is_not_lost() -> None:
    slots = Slots.of(1)
    first = slots.take("a")
    await first.__aenter__()
    waiting = asyncio.create_task(slots.take("b").__aenter__())
    await asyncio.sleep(0)
    await first.__aexit__(None, None, None)  # lends the slot to b ...
    waiting.cancel()  # ... who is gone before it could know
    with pytest.raises(asyncio.CancelledError):
        await waiting
    async with slots.take("c"):
        pass
