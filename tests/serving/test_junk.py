"""Junk in what is asked for and in what is recorded does not fill `/metrics`."""

import asyncio
import re
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import pytest
from coe_fallback.plugin import FallbackPlugin
from coe_kpi.exposition import written
from coe_kpi.plugin import KpiPlugin
from coe_records.plugin import RecordsPlugin
from coe_server.plugin import ServerPlugin

from coe_core.identity import TurnId, uuid7
from coe_core.message import user
from coe_core.model import Usage
from coe_core.record import Interaction
from coe_core.service import Clock, Journal
from coe_core.testing import deployment, make_attempt, make_interaction
from coe_core.turn import Outcome, Route

from .test_turns import serving

MOST_SERIES = 5_000
BATCH = 500
PLUGINS = {
    "fallback": FallbackPlugin,
    "kpi": KpiPlugin,
    "records": RecordsPlugin,
    "server": ServerPlugin,
}


def junk(clock: Clock, number: int) -> Interaction:
    """Make a turn of a group, a route, a model and a purpose that no other has."""
    now, turn_id = clock.now(), TurnId(uuid7())
    attempt = make_attempt(
        purpose=f"purpose {number}",
        model=f"모델-{number}",
        started_at=now,
        usage=Usage(input_tokens=5, output_tokens=1),
    )
    return make_interaction(
        id=turn_id,
        group=f"group-{number}",
        started_at=now,
        requested_model=f"asked-{number}",
        new_messages=(user("x"),),
        route=Route(model=f"모델-{number}", router="rules", name=f"route-{number}"),
        attempts=(attempt,),
        outcome=Outcome(status="success", finish_reason="stop"),
    )


async def ask_for_junk(address: str, count: int) -> None:
    """Ask for paths and models that there are not, many requests down one connection."""
    host, port = address.removeprefix("http://").removesuffix("/v1").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    for some in batches(count):
        for number in some:
            writer.write(wrong_path(number) if number % 2 else wrong_model(number))
        answered = 0
        while answered < len(some):
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 404 "), head
            (length,) = re.findall(rb"content-length: (\d+)", head.lower())
            await reader.readexactly(int(length))
            answered += 1
    writer.close()


def series(exposed: str) -> list[str]:
    return [line for line in exposed.splitlines() if not line.startswith("#")]


def wrong_path(number: int) -> bytes:
    return f"GET /v1/junk-{number} HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n".encode()


def wrong_model(number: int) -> bytes:
    body = f'{{"model":"junk-{number}","messages":[{{"role":"user","content":"x"}}]}}'
    about = f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    return f"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\n{about}{body}".encode()


def batches(count: int) -> Iterator[range]:
    for start in range(0, count, BATCH):
        yield range(start, min(count, start + BATCH))


@pytest.mark.parametrize(
    "count", [1_000, pytest.param(100_000, marks=pytest.mark.faults, id="full")]
)
async def test_junk_does_not_fill_the_metrics(tmp_path: Path, count: int) -> None:
    async with AsyncExitStack() as stack:
        host = await stack.enter_async_context(deployment(plugins=PLUGINS, data_dir=tmp_path))
        address = await stack.enter_async_context(serving(host))
        await ask_for_junk(address, count)
        journal, clock = host.application.need(Journal), host.application.need(Clock)
        for some in batches(count):
            await asyncio.gather(*(journal.append(junk(clock, n)) for n in some))
        (kpi,) = (m for m in host.application.monitors if m.name == "kpi")
        await kpi.catch_up()  # type: ignore[attr-defined] it is the book
        async with httpx.AsyncClient(timeout=600) as http:
            scraped = series((await http.get(address.replace("/v1", "/metrics"))).text)
        # Asked as it is, for as long as it takes; a scrape waits five seconds for it.
        measured = series(written(await kpi.measure()))
    names = [line.rsplit(" ", 1)[0] for line in measured]
    assert len(set(names)) == len(names)
    assert len({*names, *(line.rsplit(" ", 1)[0] for line in scraped)}) < MOST_SERIES
    assert len(measured) > 300
    total = sum(
        float(line.split()[-1])
        for line in measured
        if line.startswith('coe_kpi_group_turns{window="24h"')
    )
    assert total == count, "what has no series of its own is in `other`"
