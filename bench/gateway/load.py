"""Clients: they ask in a closed loop over kept connections, and time what comes back.

Run as a script with a `Load` as JSON; prints a `Result` as JSON. A process of its own, so that its
CPU time is not taken for the server's.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

import httptools
import msgspec
import uvloop

GIVE_UP_S = 60.0
DONE = b"data: [DONE]"


class Load(msgspec.Struct, kw_only=True):
    """What to ask, how often and for how long."""

    port: int
    path: str
    headers: dict[str, str]
    model: str
    stream: bool = False
    sentences: int = 8
    """How long the question is: eight make a request of about a kilobyte."""
    concurrency: int = 1
    per_second: float = 0.0
    """So many are asked a second, whether earlier ones were answered or not; 0: each client asks
    when it was answered.
    """
    seconds: float = 5.0
    """Time after which nothing new is asked."""
    requests: int = 1_000_000_000
    """Number after which nothing new is asked."""
    leave_every: int = 0
    """Every so many requests the client leaves after the first bytes of the answer; 0: never."""
    ramp_s: float = 0.0
    """Time over which the connections begin."""


class Result(msgspec.Struct, kw_only=True):
    """What came back."""

    requests: int
    """Whole answers."""
    errors: int
    """Answers with another status than 200, without their end, or none at all."""
    refused: int
    """Of these, answers with status 429."""
    left: int
    seconds: float
    latency_ms: dict[str, float]
    first_byte_ms: dict[str, float]
    gap_ms: float
    """The longest silence within a stream, over all streams."""
    stalled: int
    """Streams with a silence of over 150 ms."""
    example: str = ""
    """How the first answer that was an error began."""

    @property
    def per_second(self) -> float:
        """Whole answers a second."""
        return self.requests / self.seconds


STALL_S = 0.15
QUESTION = "How do I set up the printer on the third floor, and whom do I ask when it fails? "


VARIANTS = 64
"""So many different questions are asked in turn, that nobody answers from memory."""


def body_of(load: Load, number: int) -> bytes:
    """Write a request."""
    messages = [
        {"role": "system", "content": "You answer briefly and to the point, as a colleague would."},
        {"role": "user", "content": f"Floor {number}. {QUESTION * load.sentences}"},
    ]
    body: dict[str, Any] = {"model": load.model, "messages": messages, "temperature": 0.2}
    if load.stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    return json.dumps(body).encode()


def request_of(load: Load, number: int) -> bytes:
    """Write a request with its head."""
    body = body_of(load, number)
    headers = {
        "host": f"127.0.0.1:{load.port}",
        "content-type": "application/json",
        "content-length": str(len(body)),
        **load.headers,
    }
    lines = [f"POST {load.path} HTTP/1.1", *(f"{k}: {v}" for k, v in headers.items()), "", ""]
    return "\r\n".join(lines).encode() + body


class Exchange(asyncio.Protocol):
    """One connection: a request is out, and its answer is timed."""

    def __init__(self) -> None:
        self.transport: Any = None
        self.answered: asyncio.Future[bool] | None = None
        self.keep = True
        self.status = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self.transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell who waits that nothing comes any more."""
        del exc
        self.keep = False
        self._settle(whole=False)

    def ask(self, request: bytes, *, leave: bool) -> asyncio.Future[bool]:
        """Send a request; the future tells whether its answer was whole."""
        self.answered = asyncio.get_running_loop().create_future()
        self.status = 0
        self.parser = httptools.HttpResponseParser(self)
        self.leave = leave
        self.asked_at_s = self.last_at_s = time.perf_counter()
        self.first_s = self.gap_s = 0.0
        self.tail = b""
        self.transport.write(request)
        return self.answered

    def data_received(self, data: bytes) -> None:
        """Take in a piece of an answer."""
        now_s = time.perf_counter()
        if self.first_s:
            self.gap_s = max(self.gap_s, now_s - self.last_at_s)
        else:
            self.first_s = now_s - self.asked_at_s
        self.last_at_s = now_s
        if self.leave:
            self.transport.abort()
        else:
            self.parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        """Keep the end of an answer."""
        self.tail = (self.tail + body)[-400:]

    def on_message_complete(self) -> None:
        """Tell that the answer is whole."""
        self.keep = self.parser.should_keep_alive()
        self.status = self.parser.get_status_code()
        self._settle(whole=self.status == HTTPStatus.OK)

    def _settle(self, *, whole: bool) -> None:
        if self.answered is not None and not self.answered.done():
            self.answered.set_result(whole)


class Clients:
    """All connections of a load, and what they have seen."""

    def __init__(self, load: Load) -> None:
        self.load = load
        self.requests = [request_of(load, number) for number in range(VARIANTS)]
        self.asked = self.errors = self.refused = self.left = self.stalled = 0
        self.idle: list[Exchange] = []
        self.gap_s = 0.0
        self.latencies_s: list[float] = []
        self.firsts_s: list[float] = []
        self.example = ""
        self.until_s = 0.0

    async def run(self) -> Result:
        """Ask until the time or the number is over."""
        began_s = time.perf_counter()
        self.until_s = began_s + self.load.seconds
        if self.load.per_second:
            await self._steadily()
        else:
            pause_s = self.load.ramp_s / self.load.concurrency
            loops = [self._loop(number * pause_s) for number in range(self.load.concurrency)]
            await asyncio.gather(*loops)
        return Result(
            requests=len(self.latencies_s),
            errors=self.errors,
            refused=self.refused,
            left=self.left,
            seconds=time.perf_counter() - began_s,
            latency_ms=percentiles_ms(self.latencies_s),
            first_byte_ms=percentiles_ms(self.firsts_s),
            gap_ms=1000 * self.gap_s,
            stalled=self.stalled,
            example=self.example,
        )

    async def _loop(self, after_s: float) -> None:
        await asyncio.sleep(after_s)
        while self.asked < self.load.requests and time.perf_counter() < self.until_s:
            await self._next()

    async def _steadily(self) -> None:
        """Ask at a rate, over as many connections as that takes."""
        began_s = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            while self.asked < self.load.requests and (now_s := time.perf_counter()) < self.until_s:
                for _ in range(int((now_s - began_s) * self.load.per_second) - self.asked):
                    group.create_task(self._next())
                await asyncio.sleep(0.005)

    async def _next(self) -> None:
        self.asked += 1
        leave = bool(self.load.leave_every) and self.asked % self.load.leave_every == 0
        request = self.requests[self.asked % VARIANTS]
        exchange = self.idle.pop() if self.idle else None
        if exchange is None or not exchange.keep:
            connecting = asyncio.get_running_loop().create_connection
            try:
                _, exchange = await connecting(Exchange, "127.0.0.1", self.load.port)
            except OSError:
                self.errors += 1
                return
        await self._once(exchange, request, leave=leave)
        if exchange.keep:
            self.idle.append(exchange)

    async def _once(self, exchange: Exchange, request: bytes, *, leave: bool) -> None:
        try:
            whole = await asyncio.wait_for(exchange.ask(request, leave=leave), GIVE_UP_S)
        except TimeoutError:
            whole = False
        if leave:
            self.left += 1
        elif not whole or (self.load.stream and DONE not in exchange.tail):
            self.errors += 1
            self.refused += exchange.status == HTTPStatus.TOO_MANY_REQUESTS
            if not exchange.status:
                exchange.transport.abort()
            self.example = self.example or exchange.tail.decode(errors="replace")
        else:
            self.latencies_s.append(exchange.last_at_s - exchange.asked_at_s)
            self.firsts_s.append(exchange.first_s)
            self.gap_s = max(self.gap_s, exchange.gap_s)
            self.stalled += exchange.gap_s > STALL_S


def percentiles_ms(values_s: Sequence[float]) -> dict[str, float]:
    """Return p50, p95 and p99 by nearest rank; without any, for how long nobody was answered."""
    ordered = sorted(values_s) or [GIVE_UP_S]
    ranks = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
    places = {name: int(rank * (len(ordered) - 1)) for name, rank in ranks.items()}
    return {name: 1000 * ordered[place] for name, place in places.items()}


if __name__ == "__main__":
    result = uvloop.run(Clients(msgspec.json.decode(sys.argv[1], type=Load)).run())
    sys.stdout.buffer.write(msgspec.json.encode(result))
