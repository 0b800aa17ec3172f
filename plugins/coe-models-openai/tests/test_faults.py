"""What an upstream may do wrong, and where."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
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
from coe_core.model import Chunk
from coe_core.settings import Secret
from coe_core.testing.upstream import DONE, Script, Upstream

Ask = Callable[..., AsyncIterator[Chunk]]
Collect = Callable[..., Any]


def frame(delta: Any, finish_reason: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    return b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n"


WORDS = ("one", " two", " three")
FRAMES = tuple(frame({"content": word}) for word in WORDS)
WHOLE = (*FRAMES, frame({}, "stop"), DONE)
PLACES = range(len(FRAMES) + 1)
"""Before each word, and after the last but before the finish reason."""

ERROR = {"error": {"message": "it burns", "type": "server_error", "code": None}}
GARBLED = {
    "half a frame": b'data: {"choices": [{"del\n\n',
    "no JSON": b"data: <html>502</html>\n\n",
    "no UTF-8": b'data: {"choices": [{"delta": {"content": "\xff\xfe"}}]}\n\n',
    "no object": b"data: 7\n\n",
    "a wrong type": b'data: {"choices": {"delta": 1}}\n\n',
    "a wrong content": b'data: {"choices": [{"delta": {"content": 7}}]}\n\n',
    "wrong usage": b'data: {"usage": {"prompt_tokens": "many"}}\n\n',
    "nesting without end": b"data: " + b"[" * 5000 + b"\n\n",
}


async def fail(chunks: AsyncIterator[Chunk]) -> tuple[str, CoeError]:
    """Return what came before the error, and the error."""
    text = ""
    try:
        async for chunk in chunks:
            text += chunk.content
    except CoeError as error:
        return text, error
    pytest.fail(f"it answered {text!r}")


def with_fault(place: int, *fault: bytes) -> tuple[bytes, ...]:
    return (*WHOLE[:place], *fault, *WHOLE[place:])


@pytest.mark.parametrize("place", PLACES)
async def test_a_cut_anywhere_is_a_cut(upstream: Upstream, ask: Ask, place: int) -> None:
    upstream.say(Script(frames=WHOLE, cut_after=place))
    text, error = await fail(ask(stream=True))
    assert type(error) is UpstreamCut
    assert text == "".join(WORDS[:place])


@pytest.mark.parametrize("place", PLACES)
async def test_an_end_without_finish_reason_is_a_cut(
    upstream: Upstream, ask: Ask, place: int
) -> None:
    for frames in (WHOLE[:place], (*WHOLE[:place], DONE)):
        upstream.say(Script(frames=frames))
        text, error = await fail(ask(stream=True))
        assert type(error) is UpstreamCut
        assert text == "".join(WORDS[:place])


@pytest.mark.parametrize("place", PLACES)
async def test_an_end_within_a_frame_is_a_cut(upstream: Upstream, ask: Ask, place: int) -> None:
    upstream.say(Script(frames=(*WHOLE[:place], WHOLE[place][:20])))
    _, error = await fail(ask(stream=True))
    assert type(error) is UpstreamCut


@pytest.mark.parametrize("place", PLACES)
async def test_silence_anywhere_is_a_timeout(
    upstream: Upstream, ask: Ask, leap: Callable[[float], None], place: int
) -> None:
    upstream.say(Script(frames=WHOLE, hang_after=place))
    limited = "stall_timeout_s" if place else "first_token_timeout_s"
    days = {"first_token_timeout_s": 9e5, "stall_timeout_s": 9e5, "request_timeout_s": 9e5}
    chunks = ask(days | {limited: 60.0}, stream=True)
    said, expected = "", "".join(WORDS[:place])
    while len(said) < len(expected):
        said += (await anext(chunks)).content
    assert said == expected
    silence = asyncio.ensure_future(anext(chunks))
    received = await upstream.arrival()
    for _ in range(100):
        leap(1.0)
        await asyncio.sleep(0)
    with pytest.raises(UpstreamTimeout):
        silence.result()
    assert received.sent == place
    await received.ended.wait()
    assert received.left


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("fault", GARBLED)
async def test_what_is_no_frame_is_malformed(
    upstream: Upstream, ask: Ask, place: int, fault: str
) -> None:
    upstream.say(Script(frames=with_fault(place, GARBLED[fault])))
    text, error = await fail(ask(stream=True))
    assert type(error) is UpstreamMalformed
    assert text == "".join(WORDS[:place])


@pytest.mark.parametrize("place", PLACES)
async def test_an_error_in_the_stream_is_one(upstream: Upstream, ask: Ask, place: int) -> None:
    upstream.say(Script(frames=with_fault(place, b"data: " + json.dumps(ERROR).encode() + b"\n\n")))
    text, error = await fail(ask(stream=True))
    assert type(error) is UpstreamError
    assert "it burns" in error.message
    assert text == "".join(WORDS[:place])


@pytest.mark.parametrize(
    "fault",
    [
        Script(frames=WHOLE[:-1]),
        Script(frames=WHOLE, cut_after=len(FRAMES) + 1),
        Script(frames=WHOLE, hang_after=len(FRAMES) + 1),
        Script(frames=WHOLE, hang_after=len(WHOLE)),
        Script(frames=(*WHOLE[:-1], b"data: {}{\n\n", DONE)),
        Script(frames=(*WHOLE, b"data: {}{\n\n")),
    ],
    ids=["no DONE", "cut", "silence", "silence after DONE", "garbled", "more after DONE"],
)
async def test_a_whole_answer_stays_whole(
    upstream: Upstream, collect: Collect, fault: Script
) -> None:
    upstream.say(fault)
    chunks = await collect({"stall_timeout_s": 0.1}, stream=True)
    assert "".join(chunk.content for chunk in chunks) == "".join(WORDS)
    assert chunks[-1].finish_reason == "stop"


async def test_a_whole_answer_waits_for_its_usage_but_not_for_long(
    upstream: Upstream, collect: Collect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("coe_models_openai.exchange.REST_TIMEOUT_S", 0.1)
    upstream.say(Script(frames=WHOLE, hang_after=len(FRAMES) + 1))
    async with asyncio.timeout(20):
        chunks = await collect({"stall_timeout_s": 60.0}, stream=True)
    assert chunks[-1].finish_reason == "stop"


async def test_the_time_to_the_first_token_is_not_the_stall_time(
    upstream: Upstream, collect: Collect
) -> None:
    upstream.say(Script(words=("late",), pause_s=0.15))
    options = {"first_token_timeout_s": 0.05, "stall_timeout_s": 9.0}
    with pytest.raises(UpstreamTimeout):
        await collect(options, stream=True)
    upstream.say(Script(words=("late",), pause_s=0.15))
    options = {"first_token_timeout_s": 9.0, "stall_timeout_s": 0.05}
    with pytest.raises(UpstreamTimeout):
        await collect(options, stream=True)


@pytest.mark.parametrize("stream", [False, True])
async def test_the_whole_request_has_its_time(
    upstream: Upstream, collect: Collect, *, stream: bool
) -> None:
    upstream.say(Script(hang_after=2))
    with pytest.raises(UpstreamTimeout, match="small"):
        await collect({"request_timeout_s": 0.1}, stream=stream)


async def test_comments_keep_a_stream_alive(upstream: Upstream, collect: Collect) -> None:
    frames = (FRAMES[0], *[b": waiting\n\n"] * 6, *WHOLE[1:])
    upstream.say(Script(frames=frames, pause_s=0.1))
    chunks = await collect({"stall_timeout_s": 0.5}, stream=True)
    assert "".join(chunk.content for chunk in chunks) == "".join(WORDS)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_port_where_nobody_listens(collect: Collect, *, stream: bool) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(UpstreamUnreachable, match=rf"model 'small' at {address}: "):
            await collect({"base_url": f"http://{address}/v1"}, stream=stream)


async def test_a_host_that_does_not_exist(
    collect: Collect, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(UpstreamUnreachable, match=r"upstream\.invalid"):
        await collect({"base_url": "http://upstream.invalid/v1"})


@pytest.mark.parametrize(
    "options", [{"headers": {"X-Title": "two\nlines"}}, {"base_url": f"http://{'a' * 64}.b/v1"}]
)
async def test_a_request_that_cannot_be_sent(collect: Collect, options: dict[str, Any]) -> None:
    with pytest.raises(UpstreamUnreachable, match="model 'small'"):
        await collect(options)


async def test_tls_to_a_server_without(collect: Collect) -> None:
    async def answer_plainly(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer_plainly, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(UpstreamUnreachable):
            await collect({"base_url": f"https://127.0.0.1:{port}/v1"})


async def test_a_connection_that_is_never_accepted(collect: Collect) -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        loop, waiting = asyncio.get_running_loop(), []
        for _ in range(4):  # fills the queue of connections
            client = socket.socket()
            client.settimeout(0)
            waiting.append(client)
            client.connect_ex(full.getsockname())
        address = f"127.0.0.1:{full.getsockname()[1]}"
        started_s = loop.time()
        with pytest.raises(UpstreamTimeout, match=r"no connection within 0\.1 s"):
            await collect({"base_url": f"http://{address}/v1", "connect_timeout_s": 0.1})
        assert loop.time() - started_s < 2
        for client in waiting:
            client.close()


async def test_what_is_not_http(collect: Collect) -> None:
    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.synthetic ESMTP\r\n\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(greet, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(UpstreamMalformed):
            await collect({"base_url": f"http://127.0.0.1:{port}/v1"})


PLAIN_BODIES = {
    "HTML": Script(body=b"<html>", headers={"content-type": "text/html; charset=utf-8"}),
    "text": Script(body=b"ok", headers={"content-type": "text/plain"}),
    "nothing": Script(body=b""),
    "half": Script(body=b'{"choices": [{"message": {"content": "He'),
    "no JSON": Script(body=b"<html>"),
    "no object": Script(body=b"[]"),
    "no choices": Script(body=b'{"choices": []}'),
    "null choices": Script(body=b'{"choices": null}'),
    "a choice without message": Script(body=b'{"choices": [{"index": 0}]}'),
    "a wrong type": Script(body=b'{"choices": [{"message": "Hello"}]}'),
    "no UTF-8": Script(body=b'{"choices": [{"message": {"content": "\xff"}}]}'),
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("body", PLAIN_BODIES)
async def test_a_body_that_is_no_answer_is_malformed(
    upstream: Upstream, collect: Collect, body: str, *, stream: bool
) -> None:
    upstream.say(PLAIN_BODIES[body])
    with pytest.raises(UpstreamMalformed, match="model 'small' at 127"):
        await collect(stream=stream)


@pytest.mark.parametrize("cut_after", [0, 1])
async def test_a_plain_answer_that_is_cut(
    upstream: Upstream, collect: Collect, cut_after: int
) -> None:
    upstream.say(Script(cut_after=cut_after))
    with pytest.raises(UpstreamCut):
        await collect()


async def test_a_connection_closed_without_an_answer(collect: Collect) -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(UpstreamCut):
            await collect({"base_url": f"http://127.0.0.1:{port}/v1"})


def said(message: str = "so it is", **more: Any) -> bytes:
    return json.dumps({"error": {"message": message} | more}).encode()


STATUSES = [
    (400, said(), UpstreamRejected),
    (400, said(code="context_length_exceeded"), ContextTooLong),
    (400, said("This model's maximum context length is 8 tokens"), ContextTooLong),
    (400, said(type="exceed_context_size_error"), ContextTooLong),
    (401, said(), UpstreamDenied),
    (402, said(), UpstreamDenied),
    (403, said(), UpstreamDenied),
    (404, said(), UpstreamRejected),
    (408, said(), UpstreamTimeout),
    (409, said(), UpstreamRejected),
    (422, b'{"detail": [{"loc": ["body"], "msg": "so it is"}]}', UpstreamRejected),
    (429, said(code="rate_limit_exceeded"), UpstreamOverloaded),
    (429, said(code="insufficient_quota"), UpstreamDenied),
    (500, said(), UpstreamError),
    (500, said(type="overloaded_error"), UpstreamOverloaded),
    (502, b"<html>so it is not JSON</html>", UpstreamError),
    (503, said(), UpstreamOverloaded),
    (504, said(), UpstreamTimeout),
    (529, said(), UpstreamOverloaded),
    (400, b'{"error": "so it is"}', UpstreamRejected),
    (400, b'{"message": "so it is", "type": "invalid"}', UpstreamRejected),
    (400, b'[{"error": {"code": 400, "message": "so it is"}}]', UpstreamRejected),
    (302, b"", UpstreamMalformed),
]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("status", "body", "kind"), STATUSES)
async def test_a_status_tells_the_error(
    upstream: Upstream,
    collect: Collect,
    status: int,
    body: bytes,
    kind: type[CoeError],
    *,
    stream: bool,
) -> None:
    upstream.say(Script(status=status, body=body))
    with pytest.raises(CoeError) as caught:
        await collect(stream=stream)
    assert type(caught.value) is kind
    assert caught.value.message.startswith(f"model 'small' at {upstream.url[7:-3]}: ")
    if b"so it is" in body and b"<html>" not in body and status != 401:
        assert "so it is" in caught.value.message


IN_STREAM = [
    ({"error": {"message": "m", "code": "rate_limit_exceeded"}}, UpstreamOverloaded),
    ({"error": {"message": "m", "code": 429}}, UpstreamOverloaded),
    ({"error": {"message": "m", "code": "401"}}, UpstreamDenied),
    ({"error": {"message": "m", "type": "invalid_request_error"}}, UpstreamRejected),
    ({"error": {"message": "m", "code": "context_length_exceeded"}}, ContextTooLong),
    ({"error": {"message": "m", "code": "insufficient_quota"}}, UpstreamDenied),
    ({"error": "m"}, UpstreamError),
    ({"error": {}}, UpstreamError),
]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("body", "kind"), IN_STREAM)
async def test_an_error_with_status_200_tells_itself(
    upstream: Upstream, collect: Collect, body: Any, kind: type[CoeError], *, stream: bool
) -> None:
    text = json.dumps(body).encode()
    upstream.say(Script(frames=(b"data: " + text + b"\n\n",)) if stream else Script(body=text))
    with pytest.raises(CoeError) as caught:
        await collect(stream=stream)
    assert type(caught.value) is kind


async def test_the_field_at_fault_is_named(upstream: Upstream, collect: Collect) -> None:
    upstream.say(Script(status=400, body=said(param="temperature")))
    with pytest.raises(UpstreamRejected) as caught:
        await collect()
    assert caught.value.param == "temperature"


async def test_redirects_are_not_followed(upstream: Upstream, collect: Collect) -> None:
    upstream.say(Script(status=307, body=b"", headers={"location": f"{upstream.url}/elsewhere"}))
    with pytest.raises(UpstreamMalformed, match="307"):
        await collect()
    assert len(upstream.received) == 1


async def test_an_overloaded_upstream_says_when_to_come_back(
    upstream: Upstream, collect: Collect
) -> None:
    upstream.say(Script(status=429, headers={"retry-after": "7"}))
    with pytest.raises(UpstreamOverloaded) as caught:
        await collect()
    assert caught.value.retry_after_s == 7


async def test_stream_options_are_left_out_only_where_they_are_the_fault(
    upstream: Upstream, collect: Collect
) -> None:
    upstream.say(Script(status=400, body=said("temperature is too hot")))
    with pytest.raises(UpstreamRejected):
        await collect(stream=True)
    assert len(upstream.received) == 1


@pytest.mark.parametrize("status", [400, 401, 403, 500])
async def test_a_key_is_never_told(
    upstream: Upstream, collect: Collect, secret: str, status: int
) -> None:
    upstream.say(Script(status=status, body=said(f"Bearer {secret} is wrong: {secret}")))
    with pytest.raises(CoeError) as caught:
        await collect({"api_key": Secret("env:SYNTHETIC_KEY")})
    shown = f"{caught.value!r} {caught.value.message} {caught.value.__cause__!r}"
    assert secret not in shown


@pytest.mark.parametrize("reference", ["env:ABSENT_KEY", "file:/nowhere/ABSENT_KEY"])
async def test_a_key_that_is_not_there_concerns_the_operator_alone(
    upstream: Upstream, collect: Collect, reference: str
) -> None:
    logged: list[Any] = []
    sink = logger.add(logged.append)
    with pytest.raises(ModelNotConfigured, match="'small' is not configured") as refused:
        await collect({"api_key": Secret(reference)})
    logger.remove(sink)
    assert "ABSENT_KEY" not in refused.value.message
    assert "ABSENT_KEY" in logged[0].record["extra"]["why"]
    assert upstream.received == []


async def test_connections_are_used_again_after_an_error(
    upstream: Upstream, collect: Collect
) -> None:
    upstream.say(Script(status=500), Script(status=429))
    for kind in (UpstreamError, UpstreamOverloaded):
        with pytest.raises(kind):
            await collect()
    await collect()
    assert upstream.connections == 1
