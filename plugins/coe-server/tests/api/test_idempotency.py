"""The same request under the same key is run once, whatever happens."""

from __future__ import annotations

import asyncio
import hashlib
import re
from contextlib import aclosing
from datetime import timedelta
from typing import Any

import httpx
import pytest
from coe_server.idempotency import KEPT, LEASE

from coe_core.codec import rfc3339
from coe_core.error import UpstreamRejected
from coe_core.identity import TurnId, uuid7
from coe_core.model import Chunk, ToolCallDelta, Usage
from coe_core.service import Clock, RecordReader, StateStore
from coe_core.testing.clock import ManualClock

CHAT = {"model": "speaker", "messages": [{"role": "user", "content": "Hello"}]}
RESPONSE = {"model": "speaker", "input": "Hello"}
EMBEDDING = {"model": "speaker-embed", "input": ["Hello", "안녕"]}
SAME = {"Idempotency_Key": "order-7"}

EVERY_PATH = pytest.mark.parametrize(
    ("path", "body"),
    [("/chat/completions", CHAT), ("/responses", RESPONSE), ("/embeddings", EMBEDDING)],
)


def entry(group: str = "default", key: str = "order-7") -> str:
    return f"idempotency/{group}/{hashlib.sha256(key.encode()).hexdigest()}"


@EVERY_PATH
async def test_a_second_try_gets_the_first_ones_answer(running: Any, path: str, body: Any) -> None:
    first = await running.post(path, body, **SAME)
    second = await running.post(path, body, **SAME)
    assert (first.status_code, second.status_code) == (200, 200)
    assert first.json() == second.json()
    assert len(running.world.speaker.asked) == 1
    assert first.headers.get("x-coe-turn") == second.headers.get("x-coe-turn")


async def test_another_key_is_another_try(running: Any) -> None:
    await running.post("/chat/completions", CHAT, **SAME)
    await running.post("/chat/completions", CHAT, Idempotency_Key="order-8")
    await running.post("/chat/completions", CHAT)
    assert len(running.world.speaker.asked) == 3


async def test_the_answer_is_told_again_whole(running: Any) -> None:
    running.world.speaker.says = (
        Chunk(content="One", index=0),
        Chunk(content="Two", index=1, delta_extra={"reasoning_content": "thought"}),
        Chunk(index=0, finish_reason="length"),
        Chunk(
            index=1,
            tool_calls=(ToolCallDelta(index=0, id="call_1", name="f", arguments='{"a": 1}'),),
            finish_reason="tool_calls",
        ),
        Chunk(content="Thr", index=2),
        Chunk(index=2, finish_reason="content_filter"),
        Chunk(
            usage=Usage(input_tokens=5, output_tokens=4, cached_input_tokens=2, reasoning_tokens=1)
        ),
    )
    first = await running.post("/chat/completions", CHAT | {"n": 3}, **SAME)
    second = await running.post("/chat/completions", CHAT | {"n": 3}, **SAME)
    assert first.json() == second.json()
    reasons = [choice["finish_reason"] for choice in second.json()["choices"]]
    assert reasons == ["length", "tool_calls", "content_filter"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/chat/completions", CHAT),
        ("/chat/completions", CHAT | {"model": "auto"}),
        ("/responses", RESPONSE | {"model": "auto"}),
    ],
)
async def test_a_stream_is_told_again_as_a_stream(running: Any, path: str, body: Any) -> None:
    first = await running.post(path, body | {"stream": True}, **SAME)
    second = await running.post(path, body | {"stream": True}, **SAME)
    for answer in (first, second):
        assert answer.headers["content-type"] == "text/event-stream"
    assert len(running.world.speaker.asked) == 1
    assert last(first.text) == last(second.text)
    assert "Good day" in second.text


def last(stream: str) -> str:
    """The last event; it comes sooner when the text comes in one piece."""
    events = [line for line in stream.splitlines() if line.startswith("data: {")]
    return re.sub(r'"sequence_number":\d+', "", events[-1])


async def test_another_body_is_a_conflict(running: Any) -> None:
    await running.post("/chat/completions", CHAT, **SAME)
    other = await running.post("/chat/completions", CHAT | {"seed": 1}, **SAME)
    elsewhere = await running.post("/responses", RESPONSE, **SAME)
    for answer in (other, elsewhere):
        assert answer.status_code == 409
        assert answer.json()["error"]["code"] == "conflict"
        assert answer.json()["error"]["param"] == "Idempotency-Key"
    assert len(running.world.speaker.asked) == 1


async def test_another_body_is_a_conflict_while_the_first_runs(running: Any) -> None:
    speaker = running.world.speaker
    speaker.silent = True
    first = asyncio.create_task(running.post("/chat/completions", CHAT, **SAME))
    await speaker.arrived.wait()
    other = await running.post("/chat/completions", CHAT | {"seed": 1}, **SAME)
    speaker.release.set()
    assert (other.status_code, (await first).status_code) == (409, 200)


async def test_another_groups_key_is_another_key(deploy: Any, world: Any) -> None:
    world.keys = True
    async with deploy() as running:
        for group in ("red", "blue"):
            key = f"Bearer k-{group}"
            answer = await running.post("/chat/completions", CHAT, Authorization=key, **SAME)
            assert answer.status_code == 200
    assert len(world.speaker.asked) == 2


@EVERY_PATH
async def test_duplicates_at_once_ask_the_model_once(deploy: Any, path: str, body: Any) -> None:
    async with deploy() as one, deploy() as other:
        tries = [server.post(path, body, **SAME) for server in (one, other, one, other, one)]
        answers = await asyncio.gather(*tries)
    assert [answer.status_code for answer in answers] == [200] * 5
    assert len({answer.text for answer in answers}) == 1
    assert len(one.world.speaker.asked) == 1


async def test_a_duplicate_waits_for_the_first(deploy: Any, world: Any) -> None:
    world.speaker.silent = True
    async with deploy() as one, deploy() as other:
        first = asyncio.create_task(one.post("/chat/completions", CHAT, **SAME))
        await world.speaker.arrived.wait()
        second = asyncio.create_task(other.post("/chat/completions", CHAT, **SAME))
        world.speaker.release.set()
        assert (await first).json() == (await second).json()
    assert len(world.speaker.asked) == 1


async def test_a_try_that_fails_frees_the_key(running: Any) -> None:
    says = running.world.speaker.says
    running.world.speaker.says = (UpstreamRejected("no"),)
    failed = await running.post("/chat/completions", CHAT, **SAME)
    running.world.speaker.says = says
    again = await running.post("/chat/completions", CHAT, **SAME)
    assert (failed.status_code, again.status_code) == (400, 200)
    store = running.host.application.need(StateStore)
    unknown = await running.post(
        "/chat/completions", CHAT | {"model": "none"}, Idempotency_Key="unknown"
    )
    assert unknown.status_code == 404
    assert (await store.get(entry(key="unknown"))).value is None


async def test_a_client_that_leaves_frees_the_key_for_the_one_that_waits(running: Any) -> None:
    speaker = running.world.speaker
    speaker.silent = True
    body = CHAT | {"stream": True}
    headers = {"Idempotency-Key": "order-7"}
    async with httpx.AsyncClient(base_url=running.url) as client:
        async with client.stream("POST", "/chat/completions", json=body, headers=headers):
            await speaker.arrived.wait()
            second = asyncio.create_task(running.post("/chat/completions", body, **SAME))
            speaker.silent = False
        # Here the first client has closed its connection in the middle of the stream.
        answer = await second
    assert answer.text.endswith("data: [DONE]\n\n")
    assert len(speaker.asked) == 2
    reader = running.host.application.need(RecordReader)
    turns = [turn async for turn in reader.interactions("default")]
    assert sorted(turn.outcome.status for turn in turns) == ["cancelled", "success"]


async def test_after_a_restart_the_answer_is_still_there(deploy: Any, world: Any) -> None:
    async with deploy() as running:
        first = await running.post("/chat/completions", CHAT, **SAME)
    async with deploy() as running:
        second = await running.post("/chat/completions", CHAT, **SAME)
    assert first.json() == second.json()
    assert len(world.speaker.asked) == 1


async def leave_a_claim(running: Any, turn_id: str, until: timedelta) -> None:
    """Leave what a worker leaves that was killed in the middle of a turn."""
    application = running.host.application
    store, clock = application.need(StateStore), application.need(Clock)
    claim = dict((await store.get(entry())).value)
    claim |= {"turn_id": turn_id, "until": rfc3339(clock.now() + until)}
    claim.pop("answer", None)
    await store.put(entry(), claim)


async def test_a_worker_that_died_after_the_record_is_answered_for(running: Any) -> None:
    first = await running.post("/chat/completions", CHAT, **SAME)
    await leave_a_claim(running, first.headers["x-coe-turn"], -LEASE)
    second = await running.post("/chat/completions", CHAT, **SAME)
    assert first.json() == second.json()
    assert len(running.world.speaker.asked) == 1


async def test_a_worker_that_died_before_the_record_loses_the_key(running: Any) -> None:
    await running.post("/chat/completions", CHAT, **SAME)
    await leave_a_claim(running, uuid7(), timedelta(milliseconds=100))
    second = await running.post("/chat/completions", CHAT, **SAME)
    assert second.status_code == 200
    assert len(running.world.speaker.asked) == 2


async def test_a_long_turn_keeps_its_claim(deploy: Any, world: Any) -> None:
    clock = ManualClock()
    world.speaker.silent = True
    async with deploy(clock) as running:
        first = asyncio.create_task(running.post("/chat/completions", CHAT, **SAME))
        await world.speaker.arrived.wait()
        store = running.host.application.need(StateStore)
        for _ in range(6):
            await renewed(store, clock)
        second = asyncio.create_task(running.post("/chat/completions", CHAT, **SAME))
        world.speaker.release.set()
        assert (await first).json() == (await second).json()
    assert len(world.speaker.asked) == 1


async def renewed(store: Any, clock: ManualClock) -> None:
    """Let five seconds pass, and wait until the claim has been renewed."""
    before = (await store.get(entry())).value["until"]
    await clock.advance(5)
    async with aclosing(store.watch(entry())) as changes:
        async for values in changes:
            if values[entry()].value["until"] != before:
                return


async def test_after_a_day_the_key_is_free(deploy: Any, world: Any) -> None:
    clock = ManualClock()
    async with deploy(clock) as running:
        await running.post("/chat/completions", CHAT, **SAME)
        await clock.advance(KEPT.total_seconds() - 1)
        await running.post("/chat/completions", CHAT, **SAME)
        assert len(world.speaker.asked) == 1
        await clock.advance(1)
        other = await running.post("/chat/completions", CHAT | {"seed": 1}, **SAME)
        assert other.status_code == 200
        assert len(world.speaker.asked) == 2


async def test_outlived_keys_are_swept_away(deploy: Any) -> None:
    clock = ManualClock()
    sweeping = next(
        key for key in map(str, range(10_000)) if entry(key=key).rpartition("/")[2][:2] == "00"
    )
    async with deploy(clock) as running:
        store = running.host.application.need(StateStore)
        await running.post("/embeddings", EMBEDDING, Idempotency_Key="old")
        await clock.advance(2 * KEPT.total_seconds() + 1)
        await running.post("/embeddings", EMBEDDING, Idempotency_Key="young")
        await running.post("/embeddings", EMBEDDING, Idempotency_Key=sweeping)
        left = set(await store.list("idempotency/"))
    assert left == {entry(key="young"), entry(key=sweeping)}


async def test_a_record_that_is_gone_is_made_anew(running: Any) -> None:
    first = await running.post("/chat/completions", CHAT, **SAME)
    records = running.world.records
    records._turns.pop(("default", TurnId(first.headers["x-coe-turn"])))
    second = await running.post("/chat/completions", CHAT, **SAME)
    assert second.status_code == 200
    assert first.headers["x-coe-turn"] != second.headers["x-coe-turn"]


@pytest.mark.parametrize("key", ["", "k" * 256])
async def test_a_key_has_a_length(running: Any, key: str) -> None:
    answer = await running.post("/embeddings", EMBEDDING, Idempotency_Key=key)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "Idempotency-Key"
