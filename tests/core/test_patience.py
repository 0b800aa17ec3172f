"""Parts that hang: a turn waits for none of them longer than the settings say."""

import asyncio
from typing import Any

import pytest
from attrs import field, frozen

from coe_core import Chunk, Turn
from coe_core.engine import run
from coe_core.error import BudgetExceeded, GuardRefused
from coe_core.event import TurnFailed
from coe_core.patience import in_time, within
from coe_core.service import RecordReader

from .conftest import StartHost
from .test_engine import DONE, Played, ask, host_of, play, record_of

HURRIED = "[coe]\ncomponent_timeout_s = 0.05\n"


@frozen
class Hanging:
    """A guard and a router that never answers, and tells when it is asked."""

    name: str = "hanging"
    steps: frozenset[str] = frozenset({"request"})
    asked: asyncio.Event = field(factory=asyncio.Event)

    async def inspect(self, turn: Any, step: str, text: str) -> Any:
        await asyncio.Event().wait()

    async def route(self, turn: Turn) -> Any:
        self.asked.set()
        await asyncio.Event().wait()


async def test_a_guard_that_hangs_has_refused(start_host: StartHost) -> None:
    played = Played([[Chunk(content="hi"), DONE]])
    host = await host_of(start_host, played, HURRIED, guards=[Hanging()])
    failed = (await play(host.application, ask()))[-1]
    assert isinstance(failed, TurnFailed)
    assert isinstance(failed.error, GuardRefused)
    assert played.asked == []


async def test_a_turn_that_is_cancelled_waits_for_nobody(start_host: StartHost) -> None:
    router = Hanging()
    host = await host_of(start_host, Played([[DONE]]), routers=[router])

    async def read() -> None:
        async for _ in run(host.application, ask()):
            pass

    turn = asyncio.create_task(read())
    await router.asked.wait()
    turn.cancel()
    with pytest.raises(asyncio.CancelledError):
        await turn
    reader = host.application.need(RecordReader)
    [record] = [record async for record in reader.interactions(None)]
    assert record.outcome.status == "cancelled"


@pytest.mark.parametrize("error", [TimeoutError("its own"), BudgetExceeded("spent"), OSError("x")])
async def test_what_a_part_raises_itself_is_raised(start_host: StartHost, error: Any) -> None:
    host = await host_of(start_host, Played([[DONE]]))

    async def fails() -> None:
        raise error

    with pytest.raises(type(error)) as raised:
        await in_time(host.application, "a part", fails())
    assert raised.value is error


async def test_what_waits_for_nothing_needs_no_time() -> None:
    async def answers() -> str:
        return "at once"

    assert await within(0.0, "a part", answers()) == "at once"


@pytest.mark.parametrize("waits", range(4))
async def test_what_waits_again_and_again_comes_to_its_end(waits: int) -> None:
    ended: list[str] = []

    async def works(*, fails: bool) -> int:
        try:
            for _ in range(waits):
                await asyncio.sleep(0)
            if fails:
                raise OSError("at the end")
            return waits
        finally:
            ended.append("ended")

    assert await within(60.0, "a part", works(fails=False)) == waits
    with pytest.raises(OSError, match="at the end"):
        await within(60.0, "a part", works(fails=True))
    assert ended == ["ended", "ended"]


async def test_a_part_that_is_cancelled_is_told() -> None:
    told: list[str] = []
    begun = asyncio.Event()

    async def works() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.sleep(0)
            told.append("cancelled")
            raise

    task = asyncio.create_task(within(60.0, "a part", works()))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert told == ["cancelled"]


async def test_a_provider_that_keeps_no_time_is_left(start_host: StartHost) -> None:
    class Silent(Played):
        async def complete(self, model: Any, request: Any, *, group: str) -> Any:
            await asyncio.Event().wait()
            yield DONE

    limits = '[models.played]\nprovider = "played"\nrequest_timeout_s = 0.05\n'
    host = await host_of(start_host, Silent([]), limits)
    [attempt] = record_of(await play(host.application, ask())).attempts
    assert (attempt.outcome, attempt.error_code) == ("failed", "upstream_timeout")


def test_the_default_leaves_time_for_another_answer() -> None:
    from coe_core.settings import CoeTable
    from coe_core.timeout import DEFAULTS

    table = CoeTable()
    assert table.turn_timeout_s >= 2 * DEFAULTS.request_timeout_s
    assert table.component_timeout_s < DEFAULTS.request_timeout_s
