import asyncio
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Any

import pytest
from coe_models_openai.provider import OpenAIProvider

from coe_core.message import Message, Part, user
from coe_core.model import Chunk, Model, ToolCallDelta, Usage
from coe_core.request import ChatRequest, FunctionDefinition, StreamOptions, ToolDefinition
from coe_core.settings import Secret
from coe_core.testing.upstream import DONE, Script, Upstream

Collect = Callable[..., Any]
WEATHER = {
    "id": "call_1",
    "type": "function",
    "function": {"name": "weather", "arguments": '{"city":"서울"}'},
}


def event(value: Any) -> bytes:
    return b"data: " + json.dumps(value, ensure_ascii=False).encode() + b"\n\n"


def frame(delta: Any = None, **more: Any) -> bytes:
    choice = {"index": 0, "delta": delta or {}, "finish_reason": None} | more
    return event({"id": "c", "object": "chat.completion.chunk", "choices": [choice]})


FINISH = frame(finish_reason="stop")


def text_of(chunks: list[Chunk]) -> str:
    return "".join(chunk.content for chunk in chunks)


def calls_of(chunks: list[Chunk]) -> list[ToolCallDelta]:
    """Put the pieces together."""
    whole: dict[int, dict[str, Any]] = {}
    for delta in (delta for chunk in chunks for delta in chunk.tool_calls):
        call = whole.setdefault(delta.index, {"arguments": ""})
        call |= {key: value for key in ("id", "name") if (value := getattr(delta, key))}
        call["arguments"] += delta.arguments
    return [ToolCallDelta(index=index, **call) for index, call in sorted(whole.items())]


def last_usage(chunks: list[Chunk]) -> Usage | None:
    return next((chunk.usage for chunk in reversed(chunks) if chunk.usage is not None), None)


async def test_a_plain_request_is_a_plain_call(upstream: Upstream, collect: Collect) -> None:
    upstream.say(Script(words=("Hello", " 세계 👋")))
    (chunk,) = await collect()
    assert chunk.content == "Hello 세계 👋"
    assert chunk.finish_reason == "stop"
    assert chunk.usage == Usage(input_tokens=3, output_tokens=2)
    (received,) = upstream.received
    assert received.path == "/v1/chat/completions"
    assert received.json == {
        "model": "gpt-synthetic",
        "messages": [{"role": "user", "content": "안녕"}],
        "stream": False,
    }


async def test_a_streamed_request_is_a_streamed_call(upstream: Upstream, collect: Collect) -> None:
    upstream.say(Script(words=("Hello", " 세계", " 👋")))
    chunks = await collect(stream=True)
    assert "".join(chunk.content for chunk in chunks) == "Hello 세계 👋"
    assert [c.finish_reason for c in chunks if c.finish_reason] == ["stop"]
    assert last_usage(chunks) == Usage(input_tokens=3, output_tokens=3)
    asked = upstream.received[0].json
    assert asked["stream"] is True
    assert asked["stream_options"] == {"include_usage": True}


async def test_what_we_do_not_know_reaches_the_upstream(
    upstream: Upstream, collect: Collect
) -> None:
    image = {"image_url": {"url": "data:image/png;base64,AA=="}}
    message = Message(
        role="user",
        content=(Part(type="text", text="?"), Part(type="image_url", extra=image)),
        extra={"x_field": 1},
    )
    tool = ToolDefinition(function=FunctionDefinition(name="weather", extra={"strict": True}))
    await collect(
        messages=(message,),
        tools=(tool,),
        tool_choice="required",
        parallel_tool_calls=False,
        response_format={"type": "json_object"},
        stop=("a", "b"),
        seed=7,
        extra={"reasoning_effort": "low", "coe": {"params": {}}},
        metadata={"session_id": "s", "team": "blue"},
        stream=True,
        stream_options=StreamOptions(extra={"include_obfuscation": False}),
    )
    asked = upstream.received[0].json
    assert asked == {
        "model": "gpt-synthetic",
        "messages": [
            {
                "role": "user",
                "content": [{"type": "text", "text": "?"}, {"type": "image_url", **image}],
                "x_field": 1,
            }
        ],
        "tools": [{"type": "function", "function": {"name": "weather", "strict": True}}],
        "tool_choice": "required",
        "parallel_tool_calls": False,
        "response_format": {"type": "json_object"},
        "stop": ["a", "b"],
        "seed": 7,
        "reasoning_effort": "low",
        "metadata": {"team": "blue"},
        "stream": True,
        "stream_options": {"include_usage": True, "include_obfuscation": False},
    }


async def test_a_session_id_alone_leaves_no_metadata(upstream: Upstream, collect: Collect) -> None:
    await collect(metadata={"session_id": "s"})
    assert "metadata" not in upstream.received[0].json


async def test_what_we_do_not_know_comes_back(upstream: Upstream, collect: Collect) -> None:
    logprobs = {"content": [{"token": "a", "logprob": -0.1}]}
    upstream.say(
        Script(frames=(frame({"reasoning_content": "hm"}, logprobs=logprobs), FINISH, DONE)),
        Script(extra={"system_fingerprint": "fp", "service_tier": "flex"}),
    )
    first, _ = await collect(stream=True)
    assert first.delta_extra == {"reasoning_content": "hm"}
    assert first.choice_extra == {"logprobs": logprobs}
    (chunk,) = await collect()
    assert chunk.extra == {"system_fingerprint": "fp", "service_tier": "flex"}


@pytest.mark.parametrize("stream", [False, True])
async def test_every_choice_has_its_index(
    upstream: Upstream, collect: Collect, *, stream: bool
) -> None:
    upstream.say(Script(words=("a", "b")))
    chunks = await collect(n=3, stream=stream)
    for index in range(3):
        own = [chunk for chunk in chunks if chunk.index == index]
        assert text_of(own) == "ab"
        assert own[-1].finish_reason == "stop" or own[-2].finish_reason == "stop"


@pytest.mark.parametrize("stream", [False, True])
async def test_an_upstream_need_not_know_n(
    upstream: Upstream, collect: Collect, *, stream: bool
) -> None:
    message = {"message": {"content": "one"}, "finish_reason": "stop"}
    frames = (frame({"content": "one"}), FINISH, DONE)
    plain = Script(body=json.dumps({"choices": [message]}).encode())
    upstream.say(Script(frames=frames) if stream else plain)
    assert text_of(await collect(n=2, stream=stream)) == "one"


@pytest.mark.parametrize("stream", [False, True])
async def test_tool_calls_come_whole(upstream: Upstream, collect: Collect, *, stream: bool) -> None:
    second = {**WEATHER, "id": "call_2"}
    upstream.say(Script(tool_calls=(WEATHER, second)))
    chunks = await collect(stream=stream)
    arguments = WEATHER["function"]["arguments"]
    assert calls_of(chunks) == [
        ToolCallDelta(index=0, id="call_1", name="weather", arguments=arguments),
        ToolCallDelta(index=1, id="call_2", name="weather", arguments=arguments),
    ]
    assert [c.finish_reason for c in chunks if c.finish_reason] == ["tool_calls"]


def call(name: str | None, arguments: Any, **more: Any) -> dict[str, Any]:
    function = {"arguments": arguments} | ({"name": name} if name else {})
    return {"function": function} | more


@pytest.mark.parametrize(
    "deltas",
    [
        pytest.param([[call("f", "{}", id="a")], [call("g", "{}", id="b")]], id="no index"),
        pytest.param([[call("f", "{}", id="a"), call("g", "{}", id="b")]], id="in one frame"),
        pytest.param(
            [[call("f", "{}", id="a", index=0)], [call("g", "{}", id="b", index=0)]],
            id="all with index 0",
        ),
        pytest.param(
            [[call("f", {}, id="a", index=0)], [call("g", {}, id="b", index=1)]],
            id="arguments as an object",
        ),
        pytest.param(
            [[call("f", "{", id="a")], [call(None, "}")], [call("g", "{}", id="b")]],
            id="no index, in pieces",
        ),
        pytest.param(
            [
                [call("f", "{", id="a", index=0)],
                [call("f", "}", id="a", index=0)],
                [call("g", "{}", id="b", index=1)],
            ],
            id="id and name repeated",
        ),
        pytest.param(
            [
                [call(None, "", id="a", index=0)],
                [call("f", "{}", index=0)],
                [call("g", "{}", id="b", index=1)],
            ],
            id="the name after the id",
        ),
        pytest.param(
            [[call("f", "{}", id="a", index=1)], [call("g", "{}", id="b", index=2)]],
            id="counted from one",
        ),
    ],
)
async def test_tool_calls_are_told_apart_however_they_come(
    upstream: Upstream, collect: Collect, deltas: list[Any]
) -> None:
    frames = [frame({"tool_calls": pieces}) for pieces in deltas]
    upstream.say(Script(frames=(*frames, frame(finish_reason="tool_calls"), DONE)))
    assert calls_of(await collect(stream=True)) == [
        ToolCallDelta(index=0, id="a", name="f", arguments="{}"),
        ToolCallDelta(index=1, id="b", name="g", arguments="{}"),
    ]


async def test_a_tool_call_without_id_is_given_one(upstream: Upstream, collect: Collect) -> None:
    pieces = [call("f", "{}"), call("f", "{}")]
    upstream.say(Script(frames=(frame({"tool_calls": pieces}), FINISH, DONE)))
    first, second = calls_of(await collect(stream=True))
    assert first.id
    assert second.id
    assert first.id != second.id


async def test_what_a_tool_call_has_beside_is_kept(upstream: Upstream, collect: Collect) -> None:
    custom = {"index": 0, "id": "a", "type": "custom", "custom": {"name": "f", "input": "x"}}
    signed = call("g", "{}", id="b", index=1, extra_content={"signature": "s"})
    upstream.say(Script(frames=(frame({"tool_calls": [custom, signed]}), FINISH, DONE)))
    (chunk, _) = await collect(stream=True)
    extras = [delta.extra for delta in chunk.tool_calls]
    assert extras[0] == {"type": "custom", "custom": {"name": "f", "input": "x"}}
    assert extras[1] == {"extra_content": {"signature": "s"}}


async def test_the_older_function_call_is_passed_on(upstream: Upstream, collect: Collect) -> None:
    legacy = {"function_call": {"name": "f", "arguments": "{}"}}
    upstream.say(Script(frames=(frame(legacy), frame(finish_reason="function_call"), DONE)))
    chunks = await collect(stream=True)
    assert chunks[0].delta_extra == legacy
    assert chunks[-1].finish_reason == "function_call"


async def test_parts_that_are_no_text_are_kept(upstream: Upstream, collect: Collect) -> None:
    thinking = {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}
    parts = [thinking, {"type": "text", "text": "Hi"}]
    upstream.say(Script(frames=(frame({"content": parts}), FINISH, DONE)))
    chunks = await collect(stream=True)
    assert text_of(chunks) == "Hi"
    assert chunks[0].delta_extra == {"content_parts": [thinking]}


USAGE = {
    "prompt_tokens": 11,
    "completion_tokens": 7,
    "total_tokens": 18,
    "prompt_tokens_details": {"cached_tokens": 4, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 5},
}
COUNTED = Usage(input_tokens=11, output_tokens=7, cached_input_tokens=4, reasoning_tokens=5)


def with_usage(piece: bytes, usage: Any) -> bytes:
    return event(json.loads(piece.removeprefix(b"data: ")) | {"usage": usage})


@pytest.mark.parametrize(
    ("frames", "usage"),
    [
        pytest.param([FINISH, event({"choices": [], "usage": USAGE})], COUNTED, id="alone"),
        pytest.param([with_usage(FINISH, USAGE)], COUNTED, id="beside the finish reason"),
        pytest.param(
            [with_usage(frame({"content": "a"}), {"prompt_tokens": 11}), with_usage(FINISH, USAGE)],
            COUNTED,
            id="in every frame",
        ),
        pytest.param([with_usage(FINISH, None)], None, id="null"),
        pytest.param([FINISH], None, id="absent"),
        pytest.param(
            [with_usage(FINISH, dict.fromkeys(("prompt_tokens", "completion_tokens"), 0))],
            Usage(),
            id="an explicit zero is a report",
        ),
        pytest.param(
            [with_usage(FINISH, {"prompt_tokens": 2.0, "completion_tokens": None})],
            Usage(input_tokens=2),
            id="floats and null",
        ),
        pytest.param(
            [with_usage(FINISH, {"prompt_tokens": 2, "prompt_tokens_details": None})],
            Usage(input_tokens=2),
            id="no details",
        ),
    ],
)
async def test_usage_is_found_wherever_it_is(
    upstream: Upstream, collect: Collect, frames: list[bytes], usage: Usage | None
) -> None:
    upstream.say(Script(frames=(*frames, DONE)))
    assert last_usage(await collect(stream=True)) == usage


async def test_an_upstream_without_stream_options_is_remembered(
    upstream: Upstream, collect: Collect
) -> None:
    refusal = {"error": {"message": "Unrecognized request argument: stream_options"}}
    upstream.say(Script(status=400, body=json.dumps(refusal).encode()))
    assert text_of(await collect(stream=True)) == "Hello from upstream"
    assert text_of(await collect(stream=True)) == "Hello from upstream"
    options = ["stream_options" in received.json for received in upstream.received]
    assert options == [True, False, False]


async def test_a_plain_answer_to_a_streamed_request_will_do(
    upstream: Upstream, collect: Collect
) -> None:
    message = {"role": "assistant", "content": "whole"}
    body = json.dumps({"choices": [{"message": message, "finish_reason": "length"}]}).encode()
    upstream.say(Script(body=body))
    (chunk,) = await collect(stream=True)
    assert (chunk.content, chunk.finish_reason) == ("whole", "length")


async def test_a_whole_message_needs_no_finish_reason(upstream: Upstream, collect: Collect) -> None:
    upstream.say(Script(body=b'{"choices": [{"message": {"content": "whole"}}]}'))
    (chunk,) = await collect()
    assert chunk.finish_reason == "stop"


async def test_the_message_so_far_beside_a_delta_is_passed_over(
    upstream: Upstream, collect: Collect
) -> None:
    frames = [
        frame({"content": "a"}, message={"content": "a"}),
        frame({"content": "b"}, message={"content": "ab"}),
        frame({}, message={"content": "ab"}, finish_reason="stop"),
    ]
    upstream.say(Script(frames=(*frames, DONE)))
    assert text_of(await collect(stream=True)) == "ab"


async def test_connections_are_used_again(upstream: Upstream, collect: Collect) -> None:
    for stream in (True, False, True, True):
        await collect(stream=stream)
    assert len(upstream.received) == 4
    assert upstream.connections == 1


async def test_connections_are_used_again_though_the_end_comes_late(
    upstream: Upstream, collect: Collect
) -> None:
    for _ in range(2):
        upstream.say(Script(words=("a",), pause_s=0.02))
        await collect(stream=True)
    assert upstream.connections == 1


async def test_the_first_chunk_comes_before_the_last_is_sent(
    upstream: Upstream, ask: Callable[..., AsyncIterator[Chunk]]
) -> None:
    upstream.say(Script(words=("Hello", "!"), hang_after=2))
    chunks = ask(stream=True)
    assert [(await anext(chunks)).content, (await anext(chunks)).content] == ["", "Hello"]
    upstream.release()
    assert text_of([chunk async for chunk in chunks]) == "!"


async def seconds_until_left(upstream: Upstream, leave: Callable[[], Any]) -> float:
    started_s = time.monotonic()
    await leave()
    received = upstream.received[-1]
    await received.ended.wait()
    assert received.left
    return time.monotonic() - started_s


@pytest.mark.parametrize("after_chunks", [1, 2])
async def test_closing_the_iterator_closes_the_connection(
    upstream: Upstream, ask: Callable[..., AsyncGenerator[Chunk]], after_chunks: int
) -> None:
    took_s = []
    for _ in range(3):  # the machine may be busy once or twice
        upstream.say(Script(hang_after=2))
        chunks = ask(stream=True)
        for _ in range(after_chunks):
            await anext(chunks)
        took_s.append(await seconds_until_left(upstream, chunks.aclose))
    assert min(took_s) < 0.1


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("hang_after", [0, 2])
async def test_cancelling_closes_the_connection(
    upstream: Upstream, collect: Collect, *, stream: bool, hang_after: int
) -> None:
    took_s = []
    for round_ in range(1, 4):
        upstream.say(Script(hang_after=hang_after))
        task = asyncio.ensure_future(collect(stream=stream))
        await upstream.arrival(round_)

        async def leave(task: asyncio.Future[Any] = task) -> None:
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        took_s.append(await seconds_until_left(upstream, leave))
    assert min(took_s) < 0.1


async def test_headers_say_who_asks(upstream: Upstream, collect: Collect, secret: str) -> None:
    key = Secret("env:SYNTHETIC_KEY")
    options = {
        "api_key": key,
        "organization": "org",
        "headers": {"X-Title": "CoE"},
        "secret_headers": {"api-key": key},
    }
    await collect(options)
    headers = upstream.received[0].headers
    assert headers["authorization"] == f"Bearer {secret}"
    assert headers["openai-organization"] == "org"
    assert headers["x-title"] == "CoE"
    assert headers["api-key"] == secret


async def test_an_upstream_without_key_gets_none(upstream: Upstream, collect: Collect) -> None:
    await collect()
    assert "authorization" not in upstream.received[0].headers


async def test_a_query_in_the_address_stays(upstream: Upstream, collect: Collect) -> None:
    await collect({"base_url": f"{upstream.url}/?api-version=1"})
    assert upstream.received[0].path == "/v1/chat/completions?api-version=1"


async def test_a_closed_provider_opens_again(
    upstream: Upstream, provider: OpenAIProvider, model: Callable[..., Model]
) -> None:
    request = ChatRequest(model="small", messages=(user("hi"),))
    for _ in range(2):
        assert [chunk async for chunk in provider.complete(model(), request, group="default")]
        await provider.close()
    assert upstream.connections == 2
