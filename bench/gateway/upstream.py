"""A model that costs almost nothing: an OpenAI-compatible upstream, to measure what is before it.

Run as a script with the port to listen on. What it answers is in the name of the model that is
asked for: `plain` in one body, `frames` a stream of 24 frames without a pause, each in a write of
its own, `paced` one of 100 frames, one every 20 ms, as a quick model writes them.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import httptools
import uvloop

PLAIN, FRAMES, PACED = "plain", "frames", "paced"
FRAME_COUNT = {FRAMES: 24, PACED: 100}
PACE_S = 0.02
SENTENCE = "an answer of about the length that people get when they ask how to do one thing "
WORDS = SENTENCE.split()
USAGE = {"prompt_tokens": 180, "completion_tokens": 96, "total_tokens": 276}


def answer(model: str) -> bytes:
    """Write the whole answer."""
    message = {"role": "assistant", "content": " ".join(WORDS * 6)}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    head = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": model}
    body = json.dumps({**head, "choices": [choice], "usage": USAGE}).encode()
    return b"".join(
        (
            b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
            % len(body),
            body,
        )
    )


def frames(model: str, count: int) -> list[bytes]:
    """Write a stream's frames, each a chunk of the body: words, finish reason, usage, end."""
    deltas: list[dict[str, Any]] = [
        {"content": f"{WORDS[number % len(WORDS)]} "} for number in range(count - 2)
    ]
    deltas[0]["role"] = "assistant"
    choices = [{"index": 0, "delta": delta, "finish_reason": None} for delta in deltas]
    choices.append({"index": 0, "delta": {}, "finish_reason": "stop"})
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": model}
    told = [{**head, "choices": [choice], "usage": None} for choice in choices]
    told.append({**head, "choices": [], "usage": USAGE})
    events = [b"data: %b\n\n" % json.dumps(frame).encode() for frame in told]
    events[-1] += b"data: [DONE]\n\n"
    return [b"%x\r\n%b\r\n" % (len(event), event) for event in events]


STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
)
ANSWER = answer(PLAIN)
STREAM = {name: frames(name, count) for name, count in FRAME_COUNT.items()}
END = b"0\r\n\r\n"


class Connection(asyncio.Protocol):
    """Answers one client's requests, one after the other."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self.transport: Any = transport
        self.parser = httptools.HttpRequestParser(self)
        self.body = b""
        self.timer: asyncio.TimerHandle | None = None

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop pacing: nobody listens."""
        del exc
        if self.timer is not None:
            self.timer.cancel()

    def data_received(self, data: bytes) -> None:
        """Take in bytes."""
        self.parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        """Take in a piece of a request."""
        self.body += body

    def on_message_complete(self) -> None:
        """Answer."""
        model = json.loads(self.body)["model"].rpartition("/")[2] if self.body else PLAIN
        self.body = b""
        if model in STREAM:
            self.transport.write(STREAM_HEAD)
            self._write(STREAM[model], 0, PACE_S if model == PACED else 0.0)
        else:
            self.transport.write(ANSWER)

    def _write(self, pieces: list[bytes], number: int, pause_s: float) -> None:
        self.transport.write(pieces[number])
        if number + 1 == len(pieces):
            self.transport.write(END)
        else:
            loop = asyncio.get_running_loop()
            self.timer = loop.call_later(pause_s, self._write, pieces, number + 1, pause_s)


async def serve(port: int) -> None:
    """Listen until the process ends."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Connection, "127.0.0.1", port, backlog=2048)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
