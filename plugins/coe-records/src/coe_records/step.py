"""Work in steps: what may wait, for a disk or for another process, is handed out to be done by
whoever takes the steps, so that the same work can be done on an event loop and without one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from functools import partial
from typing import Any, TypeAlias, TypeVar

T = TypeVar("T")

Call: TypeAlias = Callable[[], Any]

Steps: TypeAlias = Generator[Call, Any, T]
"""Yields each call that may wait, and is sent what it returned, or thrown what it raised."""


def in_one(call: Callable[[], T]) -> Steps[T]:
    """Make a step of a call."""
    return (yield call)  # type: ignore[no-any-return]


def take(steps: Steps[T]) -> T:
    """Take the steps here, and wait."""
    go_on: Callable[[], Call] = partial(next, steps)
    while True:
        try:
            call = go_on()
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
        try:
            go_on = partial(steps.send, call())
        except BaseException as error:  # It is for the work to know what to do about it.
            go_on = partial(steps.throw, error)


async def take_on_loop(steps: Steps[T], begin: Callable[[Call], asyncio.Future[Any]]) -> T:
    """Take the steps on the event loop; `begin` has a call made elsewhere. Who is cancelled takes
    all steps before: half of them may be worse than none.
    """
    go_on: Callable[[], Call] = partial(next, steps)
    is_cancelled = False
    while True:
        try:
            call = go_on()
        except StopIteration as end:
            if is_cancelled:
                raise asyncio.CancelledError from None
            return end.value  # type: ignore[no-any-return]
        waiting = begin(call)
        while not waiting.done():
            try:
                await asyncio.wait([waiting])
            except asyncio.CancelledError:
                is_cancelled = True
        error = waiting.exception()
        go_on = partial(steps.throw, error) if error else partial(steps.send, waiting.result())
