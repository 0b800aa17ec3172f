"""The far side of the wire: a scripted, OpenAI-compatible upstream on loopback.

    async with Upstream() as upstream:
        upstream.say(Script(words=("Hello", " there"), cut_after=1))
        ...                                  # call upstream.url
        assert upstream.received[0].json["model"] == "m"

Nothing here waits for time: a script that `hangs` says nothing more until the client leaves or
`release` is called. It is plain asyncio, so that it misbehaves exactly as it is told.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
from array import array
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any, Self

import msgspec
from attrs import define, field, frozen

from coe_core.message import Json

DONE = b"data: [DONE]\n\n"


@frozen(kw_only=True)
class Script:
    """How to answer one request. A plain request gets the same as one body, and no pauses.

    A frame is one server-sent event. `cut_after` and `hang_after` count frames: 0 is right after
    the head of the response. For a plain request every number above 0 means after the body's half.
    """

    words: tuple[str, ...] = ("Hello", " from", " upstream")
    tool_calls: tuple[Json, ...] = ()
    """In OpenAI's shape, as a message has them."""
    finish_reason: str | None = None
    """None means `tool_calls` where there are some, else `stop`."""
    input_tokens: int = 3
    output_tokens: int | None = None
    """None means one for each word."""
    usage: bool = True
    """Whether usage is reported, in a streamed answer where the client asked for it."""
    extra: Mapping[str, Json] = field(factory=dict)
    """More fields of the body or of every frame."""
    status: int = 200
    headers: Mapping[str, str] = field(factory=dict)
    body: bytes | None = None
    """Sent as it is, in place of all the above."""
    frames: tuple[bytes, ...] | None = None
    """The server-sent events of a streamed answer, as they are, in place of the words."""
    pause_s: float = 0.0
    """Before each frame."""
    cut_after: int | None = None
    """Close the connection there, without an end."""
    hang_after: int | None = None
    """Say nothing more from there on."""


@define(kw_only=True)
class Received:
    """One request as it came in."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    ended: asyncio.Event = field(factory=asyncio.Event)
    """Set when the answer is complete, or the client left."""
    left: bool = False
    """Whether the client left before the end."""
    sent: int = 0
    """How many frames, or halves of a plain body, were sent."""

    @property
    def json(self) -> Any:
        """The body, decoded."""
        return msgspec.json.decode(self.body)

    @property
    def streams(self) -> bool:
        """Whether the client asked for a stream."""
        return self.body != b"" and self.json.get("stream") is True


@define
class Upstream:
    """An upstream to be scripted; when no script is left it answers as `respond` says, or else
    with `default`.
    """

    default: Script = Script()
    respond: Callable[[Received], Script] | None = None
    received: list[Received] = field(factory=list, init=False)
    connections: int = field(default=0, init=False)
    """How many connections were ever made."""
    _scripts: deque[Script] = field(factory=deque, init=False)
    _arrival: asyncio.Event = field(factory=asyncio.Event, init=False)
    _released: asyncio.Event = field(factory=asyncio.Event, init=False)
    _server: asyncio.Server | None = field(default=None, init=False)
    _serving: set[asyncio.Task[None]] = field(factory=set, init=False)

    async def __aenter__(self) -> Self:
        """Listen on a free port."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop, and drop every connection."""
        assert self._server is not None
        self._server.close()
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    @property
    def url(self) -> str:
        """The address, with `/v1`."""
        assert self._server is not None
        host, port = self._server.sockets[0].getsockname()[:2]
        return f"http://{host}:{port}/v1"

    def say(self, *scripts: Script) -> None:
        """Add scripts; each answers one request, in order."""
        self._scripts.extend(scripts)

    def release(self) -> None:
        """Let every script that hangs, now or later, go on."""
        self._released.set()

    async def arrival(self, count: int = 1) -> Received:
        """Wait until that many requests have come in, and return the last of them."""
        while len(self.received) < count:
            self._arrival.clear()
            await self._arrival.wait()
        return self.received[count - 1]

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        self.connections += 1
        early: bytes | None = b""
        try:
            while early is not None and (request := await _read(reader, early)) is not None:
                self.received.append(request)
                self._arrival.set()
                early = await self._serve(request, reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client has gone, or the test has ended
        finally:
            self._serving.discard(task)
            writer.close()

    async def _serve(
        self, request: Received, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bytes | None:
        """Answer, unless the client leaves meanwhile.

        Returns what it has already sent of its next request, None to close the connection.
        """
        script = self._script(request)
        answer = asyncio.ensure_future(self._answer(request, script, writer))
        ahead = asyncio.ensure_future(reader.read(1))
        try:
            await asyncio.wait((answer, ahead), return_when=asyncio.FIRST_COMPLETED)
            request.left = not answer.done() and not ahead.result()
            keep = not request.left and await answer
        except OSError:
            request.left, keep = True, False
        finally:
            answer.cancel()
            ahead.cancel()
            await asyncio.gather(answer, ahead, return_exceptions=True)
            request.ended.set()
        if not keep:
            return None
        return b"" if ahead.cancelled() else ahead.result() or None

    def _script(self, request: Received) -> Script:
        if self._scripts:
            return self._scripts.popleft()
        return self.default if self.respond is None else self.respond(request)

    async def _answer(
        self, request: Received, script: Script, writer: asyncio.StreamWriter
    ) -> bool:
        whole = script.body is None and request.streams and script.status < 400
        kind = "text/event-stream" if whole else "application/json"
        pieces = list(_frames(request, script)) if whole else _halves(_body(request, script))
        head = {"content-type": kind, "transfer-encoding": "chunked", **script.headers}
        lines = [f"HTTP/1.1 {script.status} Scripted", *(f"{k}: {v}" for k, v in head.items())]
        writer.write("\r\n".join([*lines, "\r\n"]).encode())
        async for sent, piece in _paced(pieces, script.pause_s if whole else 0.0):
            if script.hang_after is not None and sent >= script.hang_after:
                await writer.drain()
                await self._released.wait()
            if script.cut_after is not None and sent >= script.cut_after:
                await writer.drain()
                return False
            if piece:
                writer.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                await writer.drain()
                request.sent += 1
        writer.write(b"0\r\n\r\n")
        await writer.drain()
        return True


async def _paced(pieces: list[bytes], pause_s: float) -> AsyncIterator[tuple[int, bytes]]:
    """Count what was sent before each piece; an empty one marks the end."""
    for number, piece in enumerate([*pieces, b""]):
        if pause_s:
            await asyncio.sleep(pause_s)
        yield number, piece


async def _read(reader: asyncio.StreamReader, early: bytes) -> Received | None:
    """Read a request that began with `early`; None when the client closed instead."""
    line = early + await reader.readline()
    if not line:
        return None
    method, path, _ = line.decode("latin-1").split(" ", 2)
    headers: dict[str, str] = {}
    while (line := await reader.readline()).strip():
        name, _, value = line.decode("latin-1").partition(":")
        headers[name.lower()] = value.strip()
    if headers.get("transfer-encoding") == "chunked":
        body = b"".join([chunk async for chunk in _chunks(reader)])
    else:
        body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Received(method=method, path=path, headers=headers, body=body)


async def _chunks(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    while size := int(await reader.readline(), 16):
        yield (await reader.readexactly(size + 2))[:-2]
    await reader.readline()


def _halves(body: bytes) -> list[bytes]:
    middle = len(body) // 2
    return [body[:middle], body[middle:]]


def _body(request: Received, script: Script) -> bytes:
    if script.body is not None:
        return script.body
    if script.status >= 400:
        return _json({"error": {"message": "scripted", "type": "scripted", "code": "scripted"}})
    match request.method, request.path.rpartition("/")[2]:
        case "POST", "embeddings":
            return _json(_embeddings(request.json, script))
        case "GET", "models":
            return _json({"object": "list", "data": [{"id": "scripted", "object": "model"}]})
        case _:
            return _json(_completion(request.json, script))


def _completion(asked: dict[str, Any], script: Script) -> Json:
    message: dict[str, Json] = {"role": "assistant", "content": "".join(script.words)}
    if script.tool_calls:
        message |= {"content": None, "tool_calls": list(script.tool_calls)}
    choices = [
        {"index": index, "message": message, "finish_reason": _finish_reason(script)}
        for index in range(asked.get("n") or 1)
    ]
    told = {"usage": _usage(script)} if script.usage else {}
    return _head(asked, "chat.completion") | {"choices": choices} | told | dict(script.extra)


def _frames(request: Received, script: Script) -> Iterator[bytes]:
    if script.frames is not None:
        yield from script.frames
        return
    asked = request.json
    head = _head(asked, "chat.completion.chunk") | dict(script.extra)
    indices = range(asked.get("n") or 1)
    for delta in _deltas(script):
        for index in indices:
            choice = {"index": index, "delta": delta, "finish_reason": None}
            yield _event(head | {"choices": [choice]})
    for index in indices:
        choice = {"index": index, "delta": {}, "finish_reason": _finish_reason(script)}
        yield _event(head | {"choices": [choice]})
    if script.usage and (asked.get("stream_options") or {}).get("include_usage"):
        yield _event(head | {"choices": [], "usage": _usage(script)})
    yield DONE


def _deltas(script: Script) -> Iterator[Json]:
    yield {"role": "assistant", "content": ""}
    for position, call in enumerate(script.tool_calls):
        arguments = call["function"]["arguments"]
        opened = call["function"] | {"arguments": ""}
        yield {"tool_calls": [{"index": position, **call, "function": opened}]}
        for piece in _halves(arguments.encode()):
            told = {"arguments": piece.decode()}
            yield {"tool_calls": [{"index": position, "function": told}]}
    if not script.tool_calls:
        for word in script.words:
            yield {"content": word}


def _embeddings(asked: dict[str, Any], script: Script) -> Json:
    """Make vectors from digests of the texts, so that equal texts are equal."""
    inputs = asked["input"] if isinstance(asked["input"], list) else [asked["input"]]
    rows = [_vector(_json(text), asked.get("dimensions") or 8) for text in inputs]
    as_text = asked.get("encoding_format") == "base64"
    data = [
        {
            "object": "embedding",
            "index": index,
            "embedding": base64.b64encode(row.tobytes()).decode() if as_text else row.tolist(),
        }
        for index, row in enumerate(rows)
    ]
    usage = {"prompt_tokens": script.input_tokens, "total_tokens": script.input_tokens}
    return {"object": "list", "data": data, "model": asked["model"], "usage": usage}


def _vector(text: bytes, dimensions: int) -> array[float]:
    digest = hashlib.shake_128(text).digest(dimensions)
    return array("f", (byte / 256 for byte in digest))


def _head(asked: dict[str, Any], kind: str) -> dict[str, Json]:
    return {"id": "chatcmpl-scripted", "object": kind, "created": 0, "model": asked["model"]}


def _finish_reason(script: Script) -> str:
    return script.finish_reason or ("tool_calls" if script.tool_calls else "stop")


def _usage(script: Script) -> Json:
    spoken = len(script.words) if script.output_tokens is None else script.output_tokens
    return {
        "prompt_tokens": script.input_tokens,
        "completion_tokens": spoken,
        "total_tokens": script.input_tokens + spoken,
    }


def _event(value: Json) -> bytes:
    return b"data: " + _json(value) + b"\n\n"


def _json(value: Json) -> bytes:
    return msgspec.json.encode(value)
