import asyncio
import json
import socket
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Any

import pytest
from attrs import evolve
from coe_models_litellm import release
from coe_models_litellm.options import Options
from coe_models_litellm.provider import LiteLLMProvider
from loguru import logger

from coe_core.error import (
    CoeError,
    ContextTooLong,
    ModelNotConfigured,
    UpstreamCut,
    UpstreamDenied,
    UpstreamError,
    UpstreamMalformed,
    UpstreamOverloaded,
    UpstreamRejected,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from coe_core.message import user
from coe_core.model import Chunk, Model, Usage, Vectors
from coe_core.request import ChatRequest, EmbeddingRequest, FunctionDefinition, ToolDefinition
from coe_core.settings import Secret
from coe_core.testing.upstream import DONE, Script, Upstream
from coe_core.timeout import NAMES, Timeouts

SECRET = "sk-synthetic-0123456789"
WEATHER = {
    "id": "call_1",
    "type": "function",
    "function": {"name": "weather", "arguments": '{"city":"서울"}'},
}


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with Upstream() as running:
        yield running


@pytest.fixture
async def provider() -> AsyncIterator[LiteLLMProvider]:
    made = LiteLLMProvider()
    yield made
    await made.close()


@pytest.fixture
def model(upstream: Upstream, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Model]:
    monkeypatch.setenv("SYNTHETIC_KEY", SECRET)

    def make(**options: Any) -> Model:
        key = Secret("env:SYNTHETIC_KEY")
        limits = {name: options.pop(name) for name in NAMES if name in options}
        known = Options(**{"base_url": upstream.url, "api_key": key} | options)
        return Model(
            alias="tail",
            provider="litellm",
            name="openai/synthetic",
            options=known,
            timeouts=Timeouts.of(**limits),
        )

    return make


@pytest.fixture
def ask(provider: LiteLLMProvider, model: Callable[..., Model]) -> Callable[..., Any]:
    def complete(options: dict[str, Any] | None = None, **fields: Any) -> AsyncIterator[Chunk]:
        asked = {"model": "tail", "messages": (user("안녕"),)} | fields
        return provider.complete(model(**options or {}), ChatRequest(**asked), group="default")

    return complete


@pytest.fixture
def collect(ask: Callable[..., Any]) -> Callable[..., Any]:
    async def gather(options: dict[str, Any] | None = None, **fields: Any) -> list[Chunk]:
        return [chunk async for chunk in ask(options, **fields)]

    return gather


def frame(delta: Any, finish_reason: str | None = None, **more: Any) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    head = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    return b"data: " + json.dumps(head | {"choices": [choice]} | more).encode() + b"\n\n"


async def test_a_plain_request(upstream: Upstream, collect: Callable[..., Any]) -> None:
    upstream.say(Script(words=("Hello", " 세계")))
    (chunk,) = await collect(temperature=0.5)
    assert (chunk.content, chunk.finish_reason) == ("Hello 세계", "stop")
    assert chunk.usage == Usage(input_tokens=3, output_tokens=2)
    received = upstream.received[0]
    assert received.headers["authorization"] == f"Bearer {SECRET}"
    assert received.json == {
        "model": "synthetic",
        "messages": [{"role": "user", "content": "안녕"}],
        "temperature": 0.5,
    }


async def test_a_streamed_request(upstream: Upstream, collect: Callable[..., Any]) -> None:
    upstream.say(Script(words=("Hello", " 세계", " 👋")))
    chunks = await collect(stream=True)
    assert [chunk.content for chunk in chunks if chunk.content] == ["Hello", " 세계", " 👋"]
    assert [c.finish_reason for c in chunks if c.finish_reason] == ["stop"]
    assert chunks[-1].usage == Usage(input_tokens=3, output_tokens=3)
    assert upstream.received[0].json["stream_options"] == {"include_usage": True}


@pytest.mark.parametrize("stream", [False, True])
async def test_tools(upstream: Upstream, collect: Callable[..., Any], *, stream: bool) -> None:
    upstream.say(Script(tool_calls=(WEATHER, {**WEATHER, "id": "call_2"})))
    tool = ToolDefinition(function=FunctionDefinition(name="weather", parameters={}))
    chunks = await collect(stream=stream, tools=(tool,))
    deltas = [delta for chunk in chunks for delta in chunk.tool_calls]
    for index, id_ in enumerate(("call_1", "call_2")):
        own = [delta for delta in deltas if delta.index == index]
        named = [(delta.id, delta.name) for delta in own if delta.id]
        assert named == [(id_, "weather")]
        assert "".join(delta.arguments for delta in own) == WEATHER["function"]["arguments"]  # type: ignore[index]
    assert [c.finish_reason for c in chunks if c.finish_reason] == ["tool_calls"]
    assert upstream.received[0].json["tools"][0]["function"]["name"] == "weather"


@pytest.mark.parametrize("stream", [False, True])
async def test_several_choices(
    upstream: Upstream, collect: Callable[..., Any], *, stream: bool
) -> None:
    chunks = await collect(stream=stream, n=2)
    assert [(c.index, c.content, c.finish_reason) for c in chunks] == [
        (0, "Hello from upstream", "stop"),
        (1, "Hello from upstream", "stop"),
    ]
    assert upstream.received[0].json["n"] == 2


async def test_a_client_gives_litellm_no_orders(
    upstream: Upstream, collect: Callable[..., Any]
) -> None:
    orders = {
        "api_base": "http://127.0.0.1:1/v1",
        "api_key": "other",
        "mock_response": "mocked",
        "extra_body": {"api_base": "http://127.0.0.1:1"},
        "extra_headers": {"x-other": "1"},
        "custom_llm_provider": "anthropic",
    }
    (chunk,) = await collect(extra=orders, metadata={"session_id": "s"})
    assert chunk.content == "Hello from upstream"
    assert set(upstream.received[0].json) == {"model", "messages"}
    assert upstream.received[0].headers["authorization"] == f"Bearer {SECRET}"
    assert "x-other" not in upstream.received[0].headers


async def test_the_operator_does(upstream: Upstream, collect: Callable[..., Any]) -> None:
    await collect({"extra": {"extra_headers": {"x-team": "blue"}}})
    assert upstream.received[0].headers["x-team"] == "blue"


async def test_fields_that_litellm_passes_on_are_kept(
    upstream: Upstream, collect: Callable[..., Any]
) -> None:
    usage = {
        "prompt_tokens": 9,
        "completion_tokens": 4,
        "total_tokens": 13,
        "prompt_tokens_details": {"cached_tokens": 3},
        "completion_tokens_details": {"reasoning_tokens": 2},
    }
    frames = (
        frame({"reasoning_content": "hm"}, system_fingerprint="fp"),
        frame({"content": "a"}),
        frame({}, "length", usage=usage),
        DONE,
    )
    upstream.say(Script(frames=frames))
    chunks = await collect(stream=True)
    assert chunks[0].delta_extra["reasoning_content"] == "hm"
    assert chunks[0].extra == {"system_fingerprint": "fp"}
    assert [c.finish_reason for c in chunks if c.finish_reason] == ["length"]
    assert chunks[-1].usage == Usage(
        input_tokens=9, output_tokens=4, cached_input_tokens=3, reasoning_tokens=2
    )


@pytest.mark.parametrize("stream", [False, True])
async def test_usage_that_was_not_reported_is_not_made_up(
    upstream: Upstream, collect: Callable[..., Any], *, stream: bool
) -> None:
    upstream.say(Script(usage=False))
    assert all(chunk.usage is None for chunk in await collect(stream=stream))


WHOLE = (frame({"content": "one"}), frame({"content": " two"}), frame({}, "stop"), DONE)


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("ending", ["cut", "end", "DONE"])
async def test_an_end_before_the_finish_reason_is_a_cut(
    upstream: Upstream, collect: Callable[..., Any], place: int, ending: str
) -> None:
    scripts = {
        "cut": Script(frames=WHOLE, cut_after=place),
        "end": Script(frames=WHOLE[:place]),
        "DONE": Script(frames=(*WHOLE[:place], DONE)),
    }
    upstream.say(scripts[ending])
    with pytest.raises(UpstreamError) as caught:
        await collect(stream=True)
    assert type(caught.value) is UpstreamCut


# A process's first call through litellm is slow, and has to reach the upstream in time.
@pytest.mark.parametrize(("hang_after", "first_s"), [(0, 2.0), (1, 60.0), (2, 60.0)])
async def test_silence_is_a_timeout(
    upstream: Upstream, collect: Callable[..., Any], hang_after: int, first_s: float
) -> None:
    upstream.say(Script(frames=WHOLE, hang_after=hang_after))
    with pytest.raises(UpstreamTimeout):
        await collect({"first_token_timeout_s": first_s, "stall_timeout_s": 0.2}, stream=True)
    await upstream.received[0].ended.wait()
    assert upstream.received[0].left


async def test_the_whole_request_has_its_time(
    upstream: Upstream, collect: Callable[..., Any]
) -> None:
    upstream.say(Script(hang_after=0))
    with pytest.raises(UpstreamTimeout):
        await collect({"request_timeout_s": 0.2})


def said(message: str = "so it is", **more: Any) -> bytes:
    return json.dumps({"error": {"message": message} | more}).encode()


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("script", "kind"),
    [
        (Script(status=400, body=said()), UpstreamRejected),
        (Script(status=400, body=said(code="context_length_exceeded")), ContextTooLong),
        (Script(status=401, body=said(f"bad key {SECRET}")), UpstreamDenied),
        (Script(status=403, body=said()), UpstreamDenied),
        (Script(status=404, body=said()), UpstreamRejected),
        (Script(status=422, body=said()), UpstreamRejected),
        (Script(status=429, body=said()), UpstreamOverloaded),
        (Script(status=429, body=said(code="insufficient_quota")), UpstreamDenied),
        (Script(status=500, body=said(f"key {SECRET}")), UpstreamError),
        (Script(status=503, body=said()), UpstreamOverloaded),
    ],
)
async def test_a_status_tells_the_error(
    upstream: Upstream,
    collect: Callable[..., Any],
    script: Script,
    kind: type[CoeError],
    *,
    stream: bool,
) -> None:
    upstream.say(script)
    with pytest.raises(CoeError) as caught:
        await collect(stream=stream)
    assert type(caught.value) is kind
    assert "model 'tail' (openai/synthetic through litellm)" in caught.value.message
    assert SECRET not in f"{caught.value!r} {caught.value.__cause__!r}"
    assert len(upstream.received) == 1, "litellm tried again by itself"


async def test_an_overloaded_upstream_says_when_to_come_back(
    upstream: Upstream, collect: Callable[..., Any]
) -> None:
    upstream.say(Script(status=429, headers={"retry-after": "7"}))
    with pytest.raises(UpstreamOverloaded) as caught:
        await collect()
    assert caught.value.retry_after_s == 7


async def test_a_port_where_nobody_listens(collect: Callable[..., Any]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(UpstreamUnreachable):
            await collect({"base_url": f"http://127.0.0.1:{taken.getsockname()[1]}/v1"})


@pytest.mark.parametrize("body", [b"<html>", b'{"choices": []}', b"{"])
async def test_a_body_that_is_no_answer(
    upstream: Upstream, collect: Callable[..., Any], body: bytes
) -> None:
    upstream.say(Script(body=body))
    with pytest.raises(UpstreamError):
        await collect()


async def test_a_key_that_is_not_there_concerns_the_operator_alone(
    collect: Callable[..., Any],
) -> None:
    with pytest.raises(ModelNotConfigured) as refused:
        await collect({"api_key": Secret("env:ABSENT_KEY")})
    assert "ABSENT_KEY" not in refused.value.message


async def test_a_provider_that_litellm_does_not_know(
    provider: LiteLLMProvider, model: Callable[..., Model]
) -> None:
    unknown = Model(alias="tail", provider="litellm", name="nobody/x", options=model().options)
    request = ChatRequest(model="tail", messages=(user("hi"),))
    with pytest.raises(UpstreamRejected):
        await anext(aiter(provider.complete(unknown, request, group="default")))


async def test_closing_the_iterator_closes_the_connection(
    upstream: Upstream, ask: Callable[..., AsyncGenerator[Chunk]]
) -> None:
    took_s = []
    for _ in range(3):  # the machine may be busy once or twice
        upstream.say(Script(frames=WHOLE, hang_after=1))
        chunks = ask(stream=True)
        assert (await anext(chunks)).content == "one"
        started_s = time.monotonic()
        await chunks.aclose()
        await upstream.received[-1].ended.wait()
        took_s.append(time.monotonic() - started_s)
        assert upstream.received[-1].left
    assert min(took_s) < 0.1


@pytest.mark.parametrize("stream", [False, True])
async def test_cancelling_closes_the_connection(
    upstream: Upstream, collect: Callable[..., Any], *, stream: bool
) -> None:
    took_s = []
    for round_ in range(1, 4):
        upstream.say(Script(hang_after=0))
        task = asyncio.ensure_future(collect(stream=stream))
        received = await upstream.arrival(round_)
        started_s = time.monotonic()
        task.cancel()
        await received.ended.wait()
        took_s.append(time.monotonic() - started_s)
        assert received.left
        with pytest.raises(asyncio.CancelledError):
            await task
    assert min(took_s) < 0.1


async def test_embedding(
    upstream: Upstream, provider: LiteLLMProvider, model: Callable[..., Model]
) -> None:
    asked = EmbeddingRequest(model="tail", input=("안녕", "hello"), dimensions=4)
    known = evolve(model(), name="openai/text-embedding-3-small")
    vectors = await provider.embed(known, asked, group="default")
    assert (len(vectors), vectors.dimensions) == (2, 4)
    assert vectors.usage == Usage(input_tokens=3)
    body = json.dumps(
        {"data": [{"index": 1, "embedding": [2.0]}, {"index": 0, "embedding": [1.0]}]}
    )
    upstream.say(Script(body=body.encode()))
    asked = EmbeddingRequest(model="tail", input=("a", "b"))
    assert (await provider.embed(model(), asked, group="default")).data == Vectors.of(
        [[1.0], [2.0]]
    ).data


async def test_embedding_fails_as_completing_does(
    upstream: Upstream, provider: LiteLLMProvider, model: Callable[..., Model]
) -> None:
    asked = EmbeddingRequest(model="tail", input=("a", "b"))
    upstream.say(Script(status=429))
    with pytest.raises(UpstreamOverloaded):
        await provider.embed(model(), asked, group="default")
    upstream.say(Script(body=b'{"data": [{"index": 0, "embedding": [1.0]}]}'))
    with pytest.raises(UpstreamMalformed):
        await provider.embed(model(), asked, group="default")


@pytest.mark.parametrize("bad", ["1.107.3", None])
async def test_a_bad_release_is_not_imported(
    upstream: Upstream,
    collect: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    bad: str | None,
) -> None:
    monkeypatch.setattr(release, "installed", lambda: bad)
    logged: list[Any] = []
    sink = logger.add(logged.append)
    with pytest.raises(ModelNotConfigured):
        await collect()
    logger.remove(sink)
    assert "pip install" in logged[0].record["extra"]["why"]
    assert upstream.received == []


async def test_the_event_loop_runs_on_while_litellm_is_imported() -> None:
    code = """
import asyncio, sys, time
from coe_models_litellm import library

async def main():
    pauses, task = [], asyncio.ensure_future(library.load())
    while not task.done():
        before = time.monotonic()
        await asyncio.sleep(0.01)
        pauses.append(time.monotonic() - before)
    print(len(pauses), max(pauses))

asyncio.run(main())
"""
    shown = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await shown.communicate()
    turns, longest_s = out.decode().split()
    assert int(turns) > 10
    assert float(longest_s) < 2


def test_importing_the_plugin_leaves_litellm_alone() -> None:
    code = "import sys, coe_models_litellm.plugin; print('litellm' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "False"
