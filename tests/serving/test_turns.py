"""From an OpenAI client through the server to an upstream and back, every part of it real."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, NamedTuple

import httpx
import openai
import pytest
from attrs import define, field
from coe_models_openai.plugin import OpenAIPlugin
from coe_server.gateway import Gateway
from coe_server.plugin import ServerPlugin
from coe_server.server import Server, listen
from coe_server.settings import Settings

from coe_core import hookimpl
from coe_core.ephemeral import EphemeralRecords
from coe_core.host import Host
from coe_core.record import Interaction, Pointer, Record
from coe_core.service import Journal, RecordReader, Service, SessionStore
from coe_core.testing import deployment
from coe_core.testing.upstream import Script, Upstream

HELLO: Any = [{"role": "user", "content": "Hello"}]
WORDS = ("Good", " day", ", world")


@define
class PatientRecords(EphemeralRecords):
    """Records that are durable only once a test says so."""

    durable: asyncio.Event = field(factory=asyncio.Event)
    waiting: asyncio.Event = field(factory=asyncio.Event)

    async def append(self, record: Record) -> Pointer:
        self.waiting.set()
        await self.durable.wait()
        return await super().append(record)


class World(NamedTuple):
    """All parts of it."""

    upstream: Upstream
    host: Host
    client: openai.AsyncOpenAI
    http: httpx.AsyncClient
    records: PatientRecords

    async def post(self, **body: Any) -> httpx.Response:
        return await self.http.post("chat/completions", json={"messages": HELLO} | body)

    def stream(self, **body: Any) -> contextlib.AbstractAsyncContextManager[httpx.Response]:
        body = {"model": "small", "messages": HELLO, "stream": True} | body
        return self.http.stream("POST", "chat/completions", json=body)

    async def outcomes(self) -> list[str]:
        found: Sequence[Interaction] = [
            record async for record in self.records.interactions("default")
        ]
        return [record.outcome.status for record in found]


@pytest.fixture
async def world() -> AsyncIterator[World]:
    records = PatientRecords()
    records.durable.set()

    class RecordsPlugin:
        @hookimpl
        def coe_services(self, ctx: Any) -> list[Service]:
            contracts = (Journal, RecordReader, SessionStore)
            return [Service(contract=contract, provider=records) for contract in contracts]

    plugins = {"server": ServerPlugin, "openai": OpenAIPlugin, "records": RecordsPlugin}
    async with Upstream(Script(words=WORDS)) as upstream:
        model = f'provider = "openai"\nmodel = "m"\nbase_url = "{upstream.url}"\n'
        settings = (
            f"[models.small]\n{model}[models.spare]\n{model}[models.embed]\n{model}"
            'capability = "embedding"\n[coe]\nembedder = "embed"\n'
            '[routing]\ndefault = "small"\nfallbacks = { small = ["spare"] }\n'
        )
        async with deployment(settings, plugins=plugins) as host:
            assert host.application.problems == ()
            async with serving(host) as url:
                timeout = httpx.Timeout(20)
                async with (
                    openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0) as client,
                    httpx.AsyncClient(base_url=url, timeout=timeout) as http,
                ):
                    yield World(upstream, host, client, http, records)


@contextlib.asynccontextmanager
async def serving(host: Host) -> AsyncIterator[str]:
    listener = listen("127.0.0.1", 0)
    accepting = asyncio.Event()
    server = Server(Gateway(host.lease, Settings()), accepting.set)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    await accepting.wait()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
    finally:
        server.should_exit = server.force_exit = True
        await task


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.002)


class TestChat:
    async def test_a_plain_call_makes_a_plain_call(self, world: World) -> None:
        answer = await world.client.chat.completions.create(model="small", messages=HELLO)
        assert answer.choices[0].message.content == "Good day, world"
        (received,) = world.upstream.received
        assert not received.streams
        assert received.json["model"] == "m"

    async def test_a_stream_makes_a_stream(self, world: World) -> None:
        stream = await world.client.chat.completions.create(
            model="auto", messages=HELLO, stream=True
        )
        chunks = [chunk async for chunk in stream]
        assert "".join(c.choices[0].delta.content or "" for c in chunks) == "Good day, world"
        assert chunks[-1].choices[0].finish_reason == "stop"
        assert world.upstream.received[0].streams

    async def test_what_is_not_known_here_goes_through_both_ways(self, world: World) -> None:
        world.upstream.say(Script(extra={"system_fingerprint": "fp"}))
        image = {"type": "image_url", "image_url": {"url": "data:,x", "detail": "low"}}
        message = {"role": "user", "content": [image], "vendor": 1}
        response = await world.post(
            model="small", messages=[message], logit_bias={"1": 2}, vendor={"a": [1]}
        )
        assert response.json()["system_fingerprint"] == "fp"
        sent = world.upstream.received[0].json
        assert sent["messages"] == [message]
        assert (sent["logit_bias"], sent["vendor"]) == ({"1": 2}, {"a": [1]})
        assert "coe" not in sent

    async def test_tools_of_the_client_are_its_own(self, world: World) -> None:
        call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
        world.upstream.say(Script(tool_calls=(call,)), Script(tool_calls=(call,)))
        tools: Any = [{"type": "function", "function": {"name": "f", "strict": True}}]
        plain = await world.client.chat.completions.create(
            model="small", messages=HELLO, tools=tools
        )
        assert plain.choices[0].message.tool_calls
        assert plain.choices[0].message.tool_calls[0].model_dump() == call
        async with world.client.chat.completions.stream(
            model="small", messages=HELLO, tools=tools
        ) as stream:
            answer = await stream.get_final_completion()
        assert answer.choices[0].finish_reason == "tool_calls"
        streamed = answer.choices[0].message.tool_calls
        assert streamed
        assert streamed[0].function.arguments == '{"a": 1}'

    async def test_embeddings(self, world: World) -> None:
        made = await world.client.embeddings.create(model="embed", input=["a", "b"], dimensions=4)
        assert len(made.data) == 2
        assert len(made.data[0].embedding) == 4
        assert made.data[0].embedding != made.data[1].embedding

    async def test_connections_are_kept(self, world: World) -> None:
        for _ in range(5):
            await world.post(model="small")
        assert world.upstream.connections == 1


class TestStream:
    async def test_each_piece_is_passed_on_at_once(self, world: World) -> None:
        world.upstream.say(Script(words=WORDS, hang_after=2))
        async with world.stream() as response:
            lines = response.aiter_lines()
            assert '"content":"Good"' in await anext(lines)
            world.upstream.release()
            rest = "".join([line async for line in lines])
        assert rest.endswith("data: [DONE]")

    async def test_ends_only_when_the_record_is_durable(self, world: World) -> None:
        world.records.durable.clear()
        text = ""
        async with world.stream(stream_options={"include_usage": True}) as response:
            lines = response.aiter_lines()
            while ", world" not in text:
                text += await anext(lines)
            await world.records.waiting.wait()
            pending = asyncio.ensure_future(_rest(lines))
            await asyncio.wait([pending], timeout=0.05)
            assert not pending.done()
            world.records.durable.set()
            rest = await pending
        assert '"finish_reason":"stop"' not in text
        assert '"finish_reason":"stop"' in rest
        assert '"prompt_tokens":3' in rest
        assert rest.endswith("data: [DONE]")

    async def test_a_cut_after_the_first_piece_is_told(self, world: World) -> None:
        world.upstream.say(Script(words=WORDS, cut_after=2))
        async with world.stream(model="spare") as response:
            lines = [line async for line in response.aiter_lines() if line]
        assert '"content":"Good"' in lines[0]
        assert json.loads(lines[-1].removeprefix("data: "))["error"]["code"] == "upstream_cut"
        assert await world.outcomes() == ["failed"]

    async def test_a_failure_before_it_goes_to_the_fallback(self, world: World) -> None:
        world.upstream.say(Script(status=500), Script(words=("spare",)))
        response = await world.post(model="small")
        assert response.json()["choices"][0]["message"]["content"] == "spare"
        assert response.json()["model"] == "spare"
        assert response.json()["coe"] == {"fallback": "spare"}
        world.upstream.say(Script(status=500), Script(words=("spare",)))
        async with world.stream() as stream:
            lines = [line async for line in stream.aiter_lines() if line]
        assert json.loads(lines[-2].removeprefix("data: "))["coe"] == {"fallback": "spare"}
        assert '"coe"' not in lines[0]

    async def test_an_upstream_that_is_busy_says_when_to_come_again(self, world: World) -> None:
        world.upstream.say(Script(status=429, headers={"retry-after": "7"}))
        response = await world.post(model="spare", stream=True)
        assert response.status_code == 503
        assert response.headers["retry-after"] == "7"

    async def test_many_at_once_are_all_whole(self, world: World) -> None:
        async def one(number: int) -> str:
            message: Any = {"role": "user", "content": str(number)}
            stream = await world.client.chat.completions.create(
                model="small", messages=[message], stream=True
            )
            return "".join([c.choices[0].delta.content or "" async for c in stream])

        world.upstream.default = Script(words=tuple("0123456789"), pause_s=0.002)
        assert set(await asyncio.gather(*map(one, range(50)))) == {"0123456789"}
        assert await world.outcomes() == ["success"] * 50


async def _rest(lines: AsyncIterator[str]) -> str:
    return "".join([line async for line in lines])


class TestClientThatLeaves:
    @pytest.mark.parametrize("stream", [True, False], ids=["stream", "plain"])
    async def test_takes_the_upstream_call_along_within_a_tenth_of_a_second(
        self, world: World, *, stream: bool
    ) -> None:
        world.upstream.say(Script(words=WORDS, hang_after=2 if stream else 0))
        request = asyncio.ensure_future(world.post(model="small", stream=stream))
        received = await world.upstream.arrival()
        if stream:
            await until(lambda: received.sent == 2)
        request.cancel()
        async with asyncio.timeout(0.1):
            await received.ended.wait()
        assert received.left
        async with asyncio.timeout(5):
            while await world.outcomes() != ["cancelled"]:
                await asyncio.sleep(0.002)

    async def test_leaves_the_others_alone(self, world: World) -> None:
        world.upstream.say(Script(hang_after=0), Script(words=("kept",), hang_after=0))
        leaving = asyncio.ensure_future(world.post(model="small"))
        await world.upstream.arrival(1)
        staying = asyncio.ensure_future(world.post(model="small"))
        await world.upstream.arrival(2)
        leaving.cancel()
        await world.upstream.received[0].ended.wait()
        world.upstream.release()
        assert (await staying).json()["choices"][0]["message"]["content"] == "kept"
