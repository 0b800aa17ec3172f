"""As many turns run as may, some wait, and no group keeps another out."""

import asyncio
from collections import Counter

import httpx
import pytest
from coe_server.gate import LATE_S, LEAST, Gate
from coe_server.settings import Settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from coe_core.error import Overloaded
from coe_core.http import HttpRequest, HttpResponse, HttpRoute
from coe_core.testing import MonitorContract

GROUPS = ("a", "b", "c")


class TestMonitor(MonitorContract):
    def make(self) -> Gate:
        return Gate(Settings())


class Traffic(RuleBasedStateMachine):
    """Turns come and go; what the gate lets in is compared with what it says and promises."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.gate = Gate(Settings(turns_limit=4, queue_limit=5))
        self.tasks: dict[asyncio.Task[None], str] = {}
        self.ends: dict[asyncio.Task[None], asyncio.Event] = {}
        self.inside: Counter[str] = Counter()
        self.refused = 0

    def settle(self) -> None:
        self.loop.run_until_complete(self.settled())
        for task in [task for task in self.tasks if task.done()]:
            del self.tasks[task], self.ends[task]
            if not task.cancelled() and task.exception() is not None:
                assert isinstance(task.exception(), Overloaded)
                self.refused += 1

    async def settled(self) -> None:
        for _ in range(8):
            await asyncio.sleep(0)

    async def turn(self, group: str, end: asyncio.Event) -> None:
        async with self.gate.passing(group):
            self.inside[group] += 1
            try:
                await end.wait()
            finally:
                self.inside[group] -= 1

    @rule(group=st.sampled_from(GROUPS), count=st.integers(1, 6))
    def come(self, group: str, count: int) -> None:
        for _ in range(count):
            end = asyncio.Event()
            task = self.loop.create_task(self.turn(group, end))
            self.tasks[task], self.ends[task] = group, end
        self.settle()

    @precondition(lambda self: self.tasks)
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        self.ends[data.draw(st.sampled_from(list(self.tasks)))].set()
        self.settle()

    @precondition(lambda self: self.tasks)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        data.draw(st.sampled_from(list(self.tasks))).cancel()
        self.settle()

    @rule(late=st.lists(st.sampled_from([0.0, 2 * LATE_S]), max_size=4))
    def be_late(self, late: list[float]) -> None:
        for late_s in late:
            self.gate.adapt(late_s)
        self.settle()

    @invariant()
    def counts_what_runs_and_waits(self) -> None:
        assert self.gate.running == self.inside.total() <= 4
        assert self.gate.waiting == len(self.tasks) - self.inside.total() <= 5
        assert not self.gate.waiting or self.gate.running == 4

    @invariant()
    def counts_who_was_refused(self) -> None:
        assert self.gate._refused == self.refused

    def teardown(self) -> None:
        for task in self.tasks:
            task.cancel()
        self.settle()
        assert (self.gate.running, self.gate.waiting) == (0, 0)
        self.loop.close()


TestTraffic = Traffic.TestCase


async def ask(gate: Gate, group: str, log: list[str], end: asyncio.Event) -> None:
    async with gate.passing(group):
        log.append(group)
        await end.wait()


async def test_a_group_that_comes_late_is_let_in_before_one_that_has_many_running() -> None:
    gate, log, end = Gate(Settings(turns_limit=2, queue_limit=50)), [], asyncio.Event()
    ends = [asyncio.Event() for _ in range(2)]
    running = [asyncio.create_task(ask(gate, "heavy", log, e)) for e in ends]
    waiting = [asyncio.create_task(ask(gate, "heavy", log, end)) for _ in range(20)]
    await asyncio.sleep(0)
    light = asyncio.create_task(ask(gate, "light", log, end))
    await asyncio.sleep(0)
    ends[0].set()
    await running[0]
    await asyncio.sleep(0)
    assert log == ["heavy", "heavy", "light"]
    end.set()
    ends[1].set()
    await asyncio.gather(*running, *waiting, light)


async def test_a_full_queue_refuses_the_group_that_fills_it() -> None:
    gate, log, end = Gate(Settings(turns_limit=1, queue_limit=4)), [], asyncio.Event()
    heavy = [asyncio.create_task(ask(gate, "heavy", log, end)) for _ in range(6)]
    await asyncio.sleep(0)
    assert [task.done() for task in heavy] == [False] * 5 + [True]
    light = asyncio.create_task(ask(gate, "light", log, end))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not light.done()
    assert [task.done() for task in heavy] == [False] * 4 + [True] * 2
    end.set()
    ended = await asyncio.gather(*heavy, light, return_exceptions=True)
    assert [type(e) for e in ended if e is not None] == [Overloaded] * 2
    assert log.count("light") == 1


async def test_who_has_waited_too_long_is_refused_with_a_time_to_come_again() -> None:
    gate, end = Gate(Settings(turns_limit=1, queue_timeout_s=0.02)), asyncio.Event()
    running = asyncio.create_task(ask(gate, "a", [], end))
    await asyncio.sleep(0)
    with pytest.raises(Overloaded) as refused:
        await ask(gate, "b", [], end)
    assert refused.value.retry_after_s == 0.02
    assert gate.waiting == 0
    end.set()
    await running
    assert gate.running == 0


async def test_a_late_event_loop_lets_fewer_in_until_it_is_on_time_again() -> None:
    gate, end = Gate(Settings(turns_limit=1000)), asyncio.Event()
    turns = [asyncio.create_task(ask(gate, "a", [], end)) for _ in range(100)]
    await asyncio.sleep(0)
    gate.adapt(2 * LATE_S)
    assert gate._limit == 1000  # Once may be chance.
    gate.adapt(2 * LATE_S)
    assert gate._limit == 80
    for _ in range(20):
        gate.adapt(2 * LATE_S)
    assert gate._limit == LEAST
    for _ in range(100):
        gate.adapt(0.0)
    assert gate._limit == 1000
    end.set()
    await asyncio.gather(*turns)


async def test_a_server_that_is_full_answers_429_and_keeps_the_connection(serve: object) -> None:
    entered, end = asyncio.Event(), asyncio.Event()

    async def hold(_: HttpRequest) -> HttpResponse:
        entered.set()
        await end.wait()
        return HttpResponse(body=b"{}")

    async def free(_: HttpRequest) -> HttpResponse:
        return HttpResponse(body=b"{}")

    routes = (
        HttpRoute(method="POST", path="/turn", handler=hold, summary="", turns=True),
        HttpRoute(method="GET", path="/other", handler=free, summary=""),
    )
    settings = Settings(turns_limit=1, queue_limit=0)
    gate = Gate(settings)
    async with (
        serve(*routes, settings=settings, monitors=(gate,)) as server,  # type: ignore[operator]
        httpx.AsyncClient(base_url=server.url) as client,
    ):
        first = asyncio.create_task(client.post("/turn", content=b"{}"))
        await entered.wait()
        refused = await client.post("/turn", content=b"{}" * 1000)
        assert refused.status_code == 429
        assert refused.json()["error"]["code"] == "server_overloaded"
        assert refused.headers["retry-after"] == "5"
        assert "connection" not in refused.headers
        assert (await client.get("/other")).status_code == 200
        assert len(server.server.server_state.connections) == 2  # Of `first`, and of the rest.
        end.set()
        assert (await first).status_code == 200
