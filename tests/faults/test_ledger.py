"""What the ledger says that was used and spent, and what the upstream says that it billed."""

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from attrs import frozen

from coe_core.testing.upstream import DONE, Script, Upstream

from .serving import Client, Server, Stable

WORDS = ("Good", " day", ", you")
PRICES = {"small": (1, 10), "spare": (3, 30), "frail": (2, 20)}
"""Input and output, in dollars a million tokens."""
CACHED_PRICE = Decimal("0.5")


@frozen
class Bill:
    """What the upstream says of one call, or what is to be assumed."""

    input: int = 0
    output: int = 0
    cached: int = 0
    model: str = "small"
    estimated: bool = False
    """The upstream says nothing: there must have been at least so many tokens."""
    outcome: str = "ok"

    @property
    def usage(self) -> dict[str, Any]:
        """Say it as upstreams do."""
        return {
            "prompt_tokens": self.input,
            "completion_tokens": self.output,
            "total_tokens": self.input + self.output,
            "prompt_tokens_details": {"cached_tokens": self.cached},
        }


@frozen(kw_only=True)
class Case:
    """What an upstream does, call by call, and what the ledger is to say."""

    scripts: tuple[Script, ...]
    bills: tuple[Bill, ...]
    model: str = "small"
    client_leaves: bool = False


def frames(where: str, bill: Bill = Bill()) -> tuple[bytes, ...]:
    """Write a stream that reports its usage there: with the last choice, with every one, after
    them, or not at all.
    """
    deltas: list[Any] = [({"content": word}, None) for word in WORDS] + [({}, "stop")]
    bodies = [
        {"choices": [{"index": 0, "delta": delta, "finish_reason": reason}]}
        for delta, reason in deltas
    ]
    match where:
        case "with the last":
            bodies[-1]["usage"] = bill.usage  # type: ignore[assignment]
        case "with each":
            for count, body in enumerate(bodies, start=1):
                so_far = Bill(bill.input, min(count, len(WORDS)), bill.cached)
                body["usage"] = so_far.usage  # type: ignore[assignment]
        case "after":
            bodies.append({"choices": [], "usage": bill.usage})  # type: ignore[dict-item]
    head = {"id": "x", "object": "chat.completion.chunk", "created": 0, "model": "m"}
    events = tuple(b"data: " + json.dumps(head | body).encode() + b"\n\n" for body in bodies)
    return (*events, DONE)


def streamed(where: str, bill: Bill = Bill(), **more: Any) -> Script:
    return Script(frames=frames(where, bill), **more)


def plain(usage: dict[str, Any] | None, **more: Any) -> Script:
    message = {"role": "assistant", "content": "".join(WORDS)}
    body: dict[str, Any] = {
        "object": "chat.completion",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
    }
    if usage is not None:
        body["usage"] = usage
    return Script(body=json.dumps(body).encode(), **more)


def events_all_the_same(where: str, bill: Bill = Bill()) -> Script:
    """Answer with a stream although none was asked for."""
    return Script(body=b"".join(frames(where, bill)), headers={"content-type": "text/event-stream"})


BILL = Bill(11, 7)
GUESS = Bill(2, 3, estimated=True)
BROKEN = Bill(estimated=True, outcome="failed")
ERROR = Script(status=500)

STREAMED = {
    "usage with the last choice": Case(scripts=(streamed("with the last", BILL),), bills=(BILL,)),
    "usage with every choice": Case(
        scripts=(streamed("with each", Bill(11)),), bills=(Bill(11, len(WORDS)),)
    ),
    "usage after the choices": Case(scripts=(streamed("after", BILL),), bills=(BILL,)),
    "usage of a cache": Case(scripts=(streamed("after", Bill(11, 7, 4)),), bills=(Bill(11, 7, 4),)),
    "usage that is zero": Case(scripts=(streamed("after", Bill()),), bills=(Bill(),)),
    "no usage": Case(scripts=(streamed("nowhere"),), bills=(GUESS,)),
    "client gone": Case(
        scripts=(streamed("after", BILL, hang_after=2),),
        bills=(Bill(2, 2, estimated=True, outcome="cancelled"),),
        client_leaves=True,
    ),
    "client gone, usage with every choice": Case(
        scripts=(streamed("with each", Bill(11), hang_after=2),),
        bills=(Bill(11, 2, outcome="cancelled"),),
        client_leaves=True,
    ),
    "retry": Case(scripts=(ERROR, streamed("after", BILL)), bills=(BROKEN, BILL)),
    "fallback": Case(
        scripts=(ERROR, ERROR, streamed("after", BILL)),
        bills=(
            Bill(model="frail", estimated=True, outcome="failed"),
            Bill(model="frail", estimated=True, outcome="failed"),
            Bill(11, 7, model="spare"),
        ),
        model="frail",
    ),
    "cut stream": Case(
        scripts=(streamed("after", BILL, cut_after=2), streamed("after", Bill(13, 2))),
        bills=(
            Bill(2, 2, model="frail", estimated=True, outcome="failed"),
            Bill(13, 2, model="spare"),
        ),
        model="frail",
    ),
    "cut stream, usage with every choice": Case(
        scripts=(streamed("with each", Bill(11), cut_after=2), streamed("after", Bill(13, 2))),
        bills=(Bill(11, 2, model="frail", outcome="failed"), Bill(13, 2, model="spare")),
        model="frail",
    ),
    "cut stream, and nobody goes on": Case(
        scripts=(streamed("after", BILL, cut_after=2), ERROR),
        bills=(Bill(2, 2, estimated=True, outcome="failed"), BROKEN),
    ),
}
PLAIN = {
    "usage": Case(scripts=(plain(BILL.usage),), bills=(BILL,)),
    "usage of a cache": Case(scripts=(plain(Bill(11, 7, 4).usage),), bills=(Bill(11, 7, 4),)),
    "a stream all the same, usage with the last choice": Case(
        scripts=(events_all_the_same("with the last", BILL),), bills=(BILL,)
    ),
    "a stream all the same, usage after the choices": Case(
        scripts=(events_all_the_same("after", BILL),), bills=(BILL,)
    ),
    "usage that is zero": Case(scripts=(plain(Bill().usage),), bills=(Bill(),)),
    "no usage": Case(scripts=(plain(None),), bills=(GUESS,)),
    "client gone": Case(
        scripts=(plain(BILL.usage, hang_after=1),),
        bills=(Bill(2, 0, estimated=True, outcome="cancelled"),),
        client_leaves=True,
    ),
    "retry": Case(scripts=(ERROR, plain(BILL.usage)), bills=(BROKEN, BILL)),
    "fallback": Case(
        scripts=(ERROR, ERROR, plain(BILL.usage)),
        bills=(
            Bill(model="frail", estimated=True, outcome="failed"),
            Bill(model="frail", estimated=True, outcome="failed"),
            Bill(11, 7, model="spare"),
        ),
        model="frail",
    ),
    "cut answer": Case(
        scripts=(plain(BILL.usage, cut_after=1), plain(BILL.usage)), bills=(BROKEN, BILL)
    ),
}
CASES = [
    *(pytest.param(case, True, id=f"streamed, {name}") for name, case in STREAMED.items()),
    *(pytest.param(case, False, id=f"plain, {name}") for name, case in PLAIN.items()),
]


@frozen
class Scene:
    """A server with its upstream, and what its ledger says."""

    folder: Path
    stable: Stable
    server: Server
    upstream: Upstream
    client: Client

    def rows(self, after: int) -> list[dict[str, Any]]:
        """Read the attempts, but for so many."""
        connection = sqlite3.connect(self.folder / "coe-data" / "coe.db")
        connection.row_factory = sqlite3.Row
        found = connection.execute("SELECT * FROM attempts ORDER BY started_at, id").fetchall()
        connection.close()
        return [dict(row) for row in found[after:]]

    async def until_written(self, after: int, count: int) -> list[dict[str, Any]]:
        """Wait until so many attempts are in the ledger."""
        async with asyncio.timeout(30):
            while len(rows := self.rows(after)) < count:
                await asyncio.sleep(0.01)
        return rows


def settings(url: str) -> str:
    models = "".join(
        f'[models.{alias}]\nprovider = "openai"\nmodel = "m"\nbase_url = "{url}"\n'
        f"price = {{ input = {into}, output = {out}, cached_input = {CACHED_PRICE} }}\n"
        for alias, (into, out) in PRICES.items()
    )
    return (
        f'{models}[routing]\ndefault = "small"\nfallbacks = {{ frail = ["spare"] }}\n'
        "[plugins.fallback]\nretry_share = 1\nbreaker_failures = 1000\nbackoff_s = 0.001\n"
    )


@asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[Scene]:
    async with Stable.open() as stable, Upstream() as upstream:
        (folder / "coe.toml").write_text(settings(upstream.url))
        server = await stable.serve(folder)
        async with aiohttp.ClientSession() as session:
            client = Client(server.url, session)
            yield Scene(folder, stable, server, upstream, client)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    async with serving(tmp_path_factory.mktemp("ledger")) as scene:
        yield scene
        assert await scene.stable.verify(scene.folder) == []
        scene.server.kill()
        await scene.server.gone()


def cost_usd(bill: Bill | dict[str, Any]) -> Decimal:
    """Tell what tokens cost, whoever counted them."""
    counts = (
        bill
        if isinstance(bill, dict)
        else {
            "model": bill.model,
            "input_tokens": bill.input,
            "output_tokens": bill.output,
            "cached_input_tokens": bill.cached,
        }
    )
    into, out = PRICES[counts["model"]]
    cached = counts["cached_input_tokens"]
    dollars = (counts["input_tokens"] - cached) * into + cached * CACHED_PRICE
    return Decimal(dollars + counts["output_tokens"] * out) / 1_000_000


def told(row: dict[str, Any]) -> Bill:
    """Read what the ledger says of a call."""
    tokens = (row["input_tokens"], row["output_tokens"], row["cached_input_tokens"])
    return Bill(*tokens, row["model"], bool(row["estimated"]), row["outcome"])


async def leave(scene: Scene, text: str, *, streams: bool, model: str) -> None:
    """Ask, and be gone in the middle of the answer."""
    calls = len(scene.upstream.received) + 1
    asking = asyncio.create_task(scene.client.ask(text, streams=streams, model=model))
    received = await scene.upstream.arrival(calls)
    while received.sent < (2 if streams else 1):
        await asyncio.sleep(0.005)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    await received.ended.wait()
    assert received.left


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(("case", "streams"), CASES)
async def test_tokens_and_cost_equal_what_the_upstream_billed(
    scene: Scene, case: Case, streams: bool
) -> None:
    before, calls = len(scene.rows(0)), len(scene.upstream.received)
    scene.upstream.say(*case.scripts)
    if case.client_leaves:
        await leave(scene, "Hello", streams=streams, model=case.model)
    else:
        assert await scene.client.ask("Hello", streams=streams, model=case.model) is not None
    rows = await scene.until_written(before, len(case.bills))
    assert len(scene.upstream.received) - calls == len(case.scripts) == len(rows)
    for row, bill in zip(rows, case.bills, strict=True):
        said = told(row)
        assert (said.model, said.estimated, said.outcome) == (
            *(bill.model, bill.estimated, bill.outcome),
        )
        if bill.estimated:
            assert said.input >= bill.input
            assert said.output >= bill.output
        else:
            assert said == bill
        assert Decimal(row["cost_usd"]) == cost_usd(row)
    billed = [bill for bill in case.bills if not bill.estimated]
    booked = [row for row in rows if not row["estimated"]]
    assert sum(Decimal(row["cost_usd"]) for row in booked) == sum(map(cost_usd, billed))


@pytest.mark.parametrize("streams", [True, False])
async def test_killed_process_is_booked_at_what_was_reserved(tmp_path: Path, streams: bool) -> None:
    """The most that the upstream can have billed, marked as an estimate."""
    async with serving(tmp_path) as scene:
        scene.upstream.say(
            streamed("after", BILL, hang_after=2) if streams else plain({}, hang_after=1)
        )
        asking = asyncio.create_task(scene.client.ask("Hello", streams=streams, max_tokens=100))
        received = await scene.upstream.arrival()
        while received.sent < (2 if streams else 1):
            await asyncio.sleep(0.005)
        scene.server.kill()
        await scene.server.gone()
        assert await asking is None
        again = await scene.stable.serve(tmp_path)
        (row,) = await scene.until_written(0, 1)
        assert (row["outcome"], row["error_code"], row["estimated"]) == (
            "failed",
            "process_died",
            1,
        )
        most = cost_usd(Bill(100, 100))
        assert cost_usd(Bill(1, 100)) < Decimal(row["cost_usd"]) < most
        assert await scene.stable.verify(tmp_path) == []
        again.kill()
        await again.gone()
