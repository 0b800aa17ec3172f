"""Patience: how long what plugins provide may keep a turn waiting.

What hangs then counts as failed, and the walls around it do as they do with what raises. A part
that blocks the event loop itself, and never awaits, is beyond any limit in this process.
"""

from __future__ import annotations

import asyncio
import types
from collections.abc import Awaitable, Coroutine, Generator
from typing import TYPE_CHECKING, Any, TypeVar

from coe_core.timeout import DEFAULTS

if TYPE_CHECKING:
    from coe_core.application import Application
    from coe_core.service import Clock
    from coe_core.turn import Turn

T = TypeVar("T")


async def in_time(application: Application, part: str, work: Awaitable[T]) -> T:
    """Wait for a part, named for the log, no longer than `[coe] component_timeout_s`. Raises
    `TimeoutError`.
    """
    return await within(application.settings.coe.component_timeout_s, part, work)


async def within(limit_s: float, part: str, work: Awaitable[T]) -> T:
    """Wait for work no longer than so many seconds. Raises `TimeoutError`."""
    steps = work.__await__()
    try:
        awaited = next(steps)
    except StopIteration as done:  # Most parts wait for nothing: they need no timer.
        return done.value  # type: ignore[no-any-return]
    try:
        async with asyncio.timeout(limit_s) as scope:
            return await _rest(steps, awaited)
    except TimeoutError as error:
        if scope.expired():
            raise TimeoutError(f"{part} took longer than {limit_s:g} s") from error
        raise


@types.coroutine
def _rest(steps: Generator[Any, Any, T], awaited: Any) -> Generator[Any, Any, T]:
    """Go on with work that has taken its first step."""
    try:
        while True:
            try:
                yield awaited
            except BaseException as error:
                awaited = steps.throw(error)
            else:
                awaited = next(steps)
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]


async def to_the_end(work: Coroutine[Any, Any, T]) -> T:
    """Wait for work that is done whole, though whoever waits for it be cancelled meanwhile."""
    working = asyncio.create_task(work)
    try:
        return await asyncio.shield(working)
    except asyncio.CancelledError:
        await asyncio.wait([working])
        raise


def left_s(turn: Turn, clock: Clock) -> float:
    """Return how long a tool or an agent may take from now on: as long as an answer, and not beyond
    the turn's own time.
    """
    own_s: float = DEFAULTS.under(turn.params).request_timeout_s
    return min(own_s, turn.deadline_s - clock.monotonic_s())
