"""The same steps on the event loop and without one."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import get_ident
from typing import Any, TypeAlias

import pytest
from coe_records.step import Call, Steps, take, take_on_loop
from hypothesis import given
from hypothesis import strategies as st

Answer: TypeAlias = int | ZeroDivisionError

ANSWERS = st.lists(st.integers() | st.builds(ZeroDivisionError), max_size=5)


def answering(answer: Answer) -> Call:
    def call() -> int:
        if isinstance(answer, ZeroDivisionError):
            raise answer
        return answer

    return call


def gather(answers: list[Answer]) -> Steps[list[Answer]]:
    seen = list[Answer]()
    for answer in answers:
        try:
            seen.append((yield answering(answer)))
        except ZeroDivisionError as error:
            seen.append(error)
    return seen


def fail(answers: list[Answer]) -> Steps[None]:
    yield from gather(answers)
    yield answering(ZeroDivisionError())


async def on_loop(steps: Steps[Any]) -> Any:
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(1) as thread:
        return await take_on_loop(steps, lambda call: loop.run_in_executor(thread, call))


@pytest.mark.parametrize("way", [take, lambda steps: asyncio.run(on_loop(steps))])
@given(ANSWERS)
def test_steps_see_what_each_call_returned_or_raised(
    way: Callable[[Steps[Any]], Any], answers: list[Answer]
) -> None:
    assert way(gather(answers)) == answers
    with pytest.raises(ZeroDivisionError):
        way(fail(answers))


def test_interrupted_steps_end_before_who_takes_them() -> None:
    """They have a lock and a transaction open."""
    ended = list[str]()

    def interrupted() -> None:
        raise KeyboardInterrupt

    def work() -> Steps[None]:
        try:
            yield interrupted
        finally:
            ended.append("work")

    with pytest.raises(KeyboardInterrupt):
        take(work())
    assert ended == ["work"]


async def test_only_calls_leave_the_loop() -> None:
    def where() -> Steps[list[int]]:
        return [get_ident(), (yield get_ident), get_ident()]

    here, there, again = await on_loop(where())
    assert here == again == get_ident() != there


async def test_who_is_cancelled_takes_all_steps_before() -> None:
    """Half of them may be a line in the log that the database knows nothing of."""
    taken = list[int]()
    loop, first = asyncio.get_running_loop(), asyncio.Event()
    waiting = [loop.create_future(), loop.create_future()]

    def work() -> Steps[None]:
        for number, _ in enumerate(waiting):
            taken.append((yield partial(int, number)))

    def begin(call: Call) -> asyncio.Future[Any]:
        first.set()
        return waiting[call()]

    task = asyncio.create_task(take_on_loop(work(), begin))
    await first.wait()
    for _ in range(3):
        task.cancel()
        await asyncio.sleep(0)
    for number, future in enumerate(waiting):
        assert not task.done()
        future.set_result(number)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert taken == [0, 1]
