"""One request to an upstream and what comes back, within limits of time and size."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping
from contextlib import suppress
from typing import TypeVar

import aiohttp
import msgspec
from attrs import define, field, frozen

from coe_core.deadline import Deadline
from coe_core.error import (
    CoeError,
    UpstreamCut,
    UpstreamMalformed,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from coe_core.message import Json
from coe_core.timeout import Timeouts
from coe_models_openai.failure import Target, from_status
from coe_models_openai.options import Options
from coe_models_openai.sse import EventParser, EventTooLong

T = TypeVar("T")

ANSWER_LIMIT_BYTES = 64 * 1024 * 1024
ERROR_LIMIT_BYTES = 64 * 1024
REST_TIMEOUT_S = 5.0
"""How long a whole answer waits for what may follow it: usage, and the end."""
REUSE_TIMEOUT_S = 0.25
"""How long we wait for the end of the body after `[DONE]`, so that the connection can be kept."""
DONE = b"[DONE]"


def open_session() -> aiohttp.ClientSession:
    """Open what keeps the connections; how many there are is not for it to limit."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0), cookie_jar=aiohttp.DummyCookieJar()
    )


@frozen(kw_only=True)
class Exchange:
    """A request that may take until `deadline_s` on the event loop's clock."""

    session: aiohttp.ClientSession
    options: Options
    timeouts: Timeouts
    target: Target
    headers: Mapping[str, str] = field(repr=False)
    deadline: Deadline
    started_s: float

    async def post(self, path: str, body: Json, *, timeout_s: float | None = None) -> Reply:
        """Send JSON and wait for the head of the answer; raises for a status that is no success."""
        request = self.session.post(
            self.options.url(path),
            # Not coe_core's `encode`: it would look through the whole conversation for attrs
            # instances, of which a body has none left, in ten times the time.
            data=msgspec.json.encode(body),
            headers={"Content-Type": "application/json", **self.headers},
            proxy=self.options.proxy,
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(total=None, connect=self.timeouts.connect_timeout_s),
        )
        until_s = None if timeout_s is None else self.started_s + timeout_s
        response = await self.in_time(request, until_s)
        reply = Reply(exchange=self, response=response)
        if response.status < 300:  # noqa: PLR2004
            return reply
        try:
            text = await reply.read(ERROR_LIMIT_BYTES)
        finally:
            reply.close()
        raise from_status(self.target, response.status, response.headers, text)

    async def in_time(self, awaitable: Awaitable[T], until_s: float | None = None) -> T:
        """Wait for a step, not beyond `until_s` nor the whole request's time."""
        end_s = self.started_s + self.timeouts.request_timeout_s
        try:
            end_s = end_s if until_s is None else min(until_s, end_s)
            return await self.deadline.wait(awaitable, end_s)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            # Without its cause: that would carry the request's headers into logs.
            raise self._failure(error) from None

    def _failure(self, error: Exception) -> CoeError:
        reason = str(error) or type(error).__name__
        match error:
            case aiohttp.ConnectionTimeoutError():
                limit_s = self.timeouts.connect_timeout_s
                return self.target.error(UpstreamTimeout, f"no connection within {limit_s:g} s")
            case TimeoutError():
                return self.target.error(UpstreamTimeout, "no answer, or no more of it, in time")
            case aiohttp.ClientHttpProxyError():
                text = f"the proxy answered {error.status}"
                return self.target.error(UpstreamUnreachable, text)
            case aiohttp.ClientConnectorError() | ValueError():  # a host or header that is none
                return self.target.error(UpstreamUnreachable, f"no connection: {reason}")
            case aiohttp.ClientResponseError():
                return self.target.error(UpstreamMalformed, f"not HTTP: {error.message}")
            case _:
                return self.target.error(UpstreamCut, f"the connection broke: {reason}")


@define(kw_only=True)
class Reply:
    """An answer whose head has come. Must be closed."""

    exchange: Exchange
    response: aiohttp.ClientResponse

    @property
    def is_stream(self) -> bool:
        """Whether events follow, or else one JSON text. Raises `UpstreamMalformed` for neither."""
        match self.response.content_type:
            case "text/event-stream":
                return True
            case "application/json":
                return False
            case kind:
                text = f"it answered with {kind}, not JSON; check base_url"
                raise self.exchange.target.error(UpstreamMalformed, text)

    async def read(self, limit_bytes: int = ANSWER_LIMIT_BYTES) -> bytes:
        """Read the body whole, or up to the limit and a little more."""
        pieces, size_bytes = [], 0
        while size_bytes <= limit_bytes and (piece := await self.read_piece()):
            pieces.append(piece)
            size_bytes += len(piece)
        return b"".join(pieces)

    async def read_piece(self, until_s: float | None = None) -> bytes:
        """Read what has come, waiting for it; nothing means the end."""
        return await self.exchange.in_time(self.response.content.readany(), until_s)

    def events(self) -> Events:
        """Read the answer as a stream of events."""
        return Events(self)

    async def drain(self) -> None:
        """Wait a moment for the end, so that the connection can be used again."""
        with suppress(CoeError):
            while await self.read_piece(asyncio.get_running_loop().time() + REUSE_TIMEOUT_S):
                pass

    def close(self) -> None:
        """Close the connection at once, unless the answer came to its end."""
        self.response.close()


@define
class Events:
    """The events of a streamed answer."""

    reply: Reply
    broken_off: bool = False
    """Whether the stream ended without saying so."""
    _parser: EventParser = field(factory=EventParser, init=False)
    _begun: bool = field(default=False, init=False)
    _done: bool = field(default=False, init=False)

    async def next(self, *, is_rest: bool) -> list[bytes] | None:
        """Wait for events and return the data of those that came, None at the end.

        `is_rest` says that the answer itself is whole, and only its usage may be missing.
        """
        if self._done or self.broken_off:
            return None
        piece = await self.reply.read_piece(self._until_s(is_rest=is_rest))
        try:
            events = self._parser.feed(piece) if piece else self._parser.end()
        except EventTooLong as error:
            raise self.reply.exchange.target.error(UpstreamMalformed, str(error)) from error
        self._begun = self._begun or bool(events)
        if DONE in events:
            self._done = True
            await self.reply.drain()
            return events[: events.index(DONE)]
        self.broken_off = not piece
        return events

    def _until_s(self, *, is_rest: bool) -> float:
        exchange = self.reply.exchange
        if not self._begun:
            return exchange.started_s + exchange.timeouts.first_token_timeout_s
        stall_s = exchange.timeouts.stall_timeout_s
        now_s = asyncio.get_running_loop().time()
        return now_s + (min(stall_s, REST_TIMEOUT_S) if is_rest else stall_s)
