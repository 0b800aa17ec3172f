"""uvicorn's HTTP protocol, with limits on the head of a request, and errors in OpenAI's shape."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import MutableMapping
from functools import partial
from typing import Any

from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from coe_core.error import CoeError, InvalidRequest, MalformedBody, SlowRequest
from coe_server.settings import Settings
from coe_server.wire import dumps, error_body

NO_REQUEST = "this is no valid HTTP/1.1 request; the address begins with http://, not https://"
LINGER_S = 2.0
"""How long a refused client is still listened to: to close at once would take the answer away."""

PARTING_S = 0.3
"""How long a connection without a request stays open when the server ends."""


class HeadTooLarge(InvalidRequest):
    """The request line and the headers exceed the limit."""

    code = "headers_too_large"
    status = 431


class MalformedRequest(MalformedBody):
    """What came in is not HTTP."""

    code = "malformed_request"


class Protocol(HttpToolsProtocol):
    """One connection.

    uvicorn itself waits for ever for a request's head, and takes one of any size.
    """

    def __init__(self, *, settings: Settings, **options: Any) -> None:
        """Take the settings beside what uvicorn hands over."""
        super().__init__(**options)
        self._settings = settings
        self._head_size = 0
        self._head_timer: asyncio.TimerHandle | None = None
        self._is_deaf = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first request."""
        super().connection_made(transport)
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        self._disarm()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Count what comes while a head is awaited."""
        if self._is_deaf:
            return
        if self._head_timer is not None:
            self._head_size += len(data)
        super().data_received(data)
        if self._head_timer is not None and self._head_size > self._settings.head_limit_bytes:
            limit = self._settings.head_limit_bytes
            self._reject(HeadTooLarge(f"the headers are longer than {limit} bytes"))

    def on_message_begin(self) -> None:
        """Wait for the rest of the head."""
        super().on_message_begin()
        if self._head_timer is None:
            self._expect_head()

    def on_headers_complete(self) -> None:
        """Stop waiting: from here on the application has its own time limit."""
        self._disarm()
        super().on_headers_complete()

    def shutdown(self) -> None:
        """Close the connection, but not in the face of a request that is under way: it is answered,
        with a refusal.
        """
        if self.cycle is None or self.cycle.response_complete:
            self.loop.call_later(PARTING_S, super().shutdown)
        else:
            super().shutdown()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        if cycle.scope["http_version"] == "1.0":
            cycle.send = partial(_send_unframed, cycle)  # type: ignore[method-assign]
        super()._start_asgi_task(cycle, app)

    def send_400_response(self, msg: str) -> None:
        """Refuse what is not HTTP."""
        del msg
        self._reject(MalformedRequest(NO_REQUEST))

    def _expect_head(self) -> None:
        self._head_size = 0
        self._head_timer = self.loop.call_later(self._settings.head_timeout_s, self._too_slow)

    def _disarm(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _too_slow(self) -> None:
        timeout_s = self._settings.head_timeout_s
        self._reject(SlowRequest(f"no whole request came within {timeout_s:g} seconds"))

    def _reject(self, error: CoeError) -> None:
        """Answer for a request that is none, or whose body is none, and listen no more.

        The requests before it are answered first; while one is, this one gets no answer.
        """
        self._disarm()
        self._is_deaf = True
        cycle = self.cycle
        if self.transport.is_closing():
            return
        if cycle is not None and not cycle.response_complete:
            if not cycle.more_body:
                cycle.keep_alive = False
                return
            cycle.disconnected = True
            cycle.message_event.set()
            if self.pipeline or cycle.response_started:
                self.transport.close()
                return
        self.transport.write(_response(error))
        self.transport.write_eof()
        self.loop.call_later(LINGER_S, self.transport.close)


async def _send_unframed(cycle: RequestResponseCycle, message: MutableMapping[str, Any]) -> None:
    """Answer HTTP/1.0, which knows no chunks: the connection's end is the answer's. uvicorn itself
    would send chunks all the same.
    """
    if cycle.flow.write_paused and not cycle.disconnected:
        await cycle.flow.drain()
    if cycle.disconnected:
        return
    if not cycle.response_started:
        cycle.response_started = True
        lines = [b"%b: %b\r\n" % pair for pair in message["headers"] if pair[0] != b"connection"]
        head = b"".join([STATUS_LINE[message["status"]], *lines, b"connection: close\r\n\r\n"])
        cycle.transport.write(head)
        return
    if cycle.scope["method"] != "HEAD":
        cycle.transport.write(message.get("body", b""))
    if not message.get("more_body", False):
        cycle.response_complete = True
        cycle.message_event.set()
        cycle.transport.close()
        cycle.on_response()


def _response(error: CoeError) -> bytes:
    request_id = f"req_{secrets.token_hex(12)}"
    body = dumps(error_body(error, request_id))
    lines = (
        f"x-request-id: {request_id}",
        "content-type: application/json",
        f"content-length: {len(body)}",
        "connection: close",
        "",
        "",
    )
    return STATUS_LINE[error.status] + "\r\n".join(lines).encode() + body
