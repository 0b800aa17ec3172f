"""One timer limits many waits: each as `asyncio.timeout_at` would limit it."""

import asyncio

import pytest

from coe_core.deadline import Deadline


def now_s() -> float:
    return asyncio.get_running_loop().time()


async def test_what_is_in_time_is_returned() -> None:
    with Deadline() as deadline:
        for number in range(3):
            assert await deadline.wait(asyncio.sleep(0, number), now_s() + 60) == number


async def test_what_is_late_is_ended_and_the_next_wait_begins_anew() -> None:
    with Deadline() as deadline:
        with pytest.raises(TimeoutError):
            await deadline.wait(asyncio.Event().wait(), now_s() + 0.01)
        assert await deadline.wait(asyncio.sleep(0, "in time"), now_s() + 60) == "in time"
        with pytest.raises(TimeoutError):
            await deadline.wait(asyncio.Event().wait(), now_s() - 1)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


@pytest.mark.parametrize(("first_s", "then_s"), [(60, 0.01), (0.01, 60), (0.01, 0.02)])
async def test_the_end_may_move_either_way(first_s: float, then_s: float) -> None:
    with Deadline() as deadline:
        await deadline.wait(asyncio.sleep(0), now_s() + first_s)
        began_s = now_s()
        if then_s < 1:
            with pytest.raises(TimeoutError):
                await deadline.wait(asyncio.Event().wait(), began_s + then_s)
            assert now_s() - began_s >= then_s
        else:  # Past the first end, at which the timer goes off.
            await deadline.wait(asyncio.sleep(2 * first_s), began_s + then_s)


async def test_who_cancels_from_outside_is_not_taken_for_the_end() -> None:
    async def waits() -> None:
        with Deadline() as deadline:
            await deadline.wait(asyncio.Event().wait(), now_s() + 60)

    task = asyncio.create_task(waits())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_cancel_in_the_moment_of_the_end_is_kept() -> None:
    with Deadline() as deadline:
        task = asyncio.create_task(deadline.wait(asyncio.Event().wait(), now_s() + 60))
        await asyncio.sleep(0)
        deadline._until_s = now_s() - 1
        deadline._go_off()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_no_timer_is_left_behind() -> None:
    with Deadline() as deadline:
        await deadline.wait(asyncio.sleep(0), now_s() + 60)
        timer = deadline._timer
        assert timer is not None
    assert timer.cancelled()


async def test_an_error_in_the_moment_of_the_end_leaves_no_cancel_behind() -> None:
    async def raises_when_cancelled() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise ValueError("dropped") from None

    with Deadline() as deadline, pytest.raises(ValueError, match="dropped"):
        await deadline.wait(raises_when_cancelled(), now_s() + 0.01)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
