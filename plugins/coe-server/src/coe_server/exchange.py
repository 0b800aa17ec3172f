"""One request and its response, on ASGI.

The response's head is sent with its first piece, so that whatever fails before that is an HTTP
error; what fails later ends a stream of events with one that says so.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import TYPE_CHECKING, ClassVar
from urllib.parse import parse_qsl

from attrs import define, field
from loguru import logger

from coe_core.access import Credentials, Principal
from coe_core.application import Application
from coe_core.error import BodyTooLarge, CoeError, InvalidRequest, SlowRequest
from coe_core.http import HttpRequest, HttpResponse, HttpRoute
from coe_core.identity import chance
from coe_core.patience import within
from coe_server.admission import CREDENTIAL_HEADERS, admit
from coe_server.wire import COMMENT, SSE, error_body, error_response, event

if TYPE_CHECKING:
    from coe_server.gateway import Gateway, Receive, Scope, Send

SMALL_BYTES = 64 * 1024
SETTLE_S = 0.5
"""A body so small is read before a refusal, for so long, and the connection kept: to come back on
another costs both sides more, and most when there is too much to do.
"""
LINGER_S = 2.0
"""Another refused body is still read while it comes, with no longer pause than this: closing would
take the answer away from a client that sends all before it reads.
"""
UNSEEN_S = 0.05
"""So long nobody looks whether the client is still there: most answers are over by then."""
SERVER_FAULT = 500


class ClientLeft(Exception):
    """The client closed the connection; nobody is there to be told."""


class Unexpected(CoeError):
    """A mistake of ours, or of a plugin; the log has what the client is not shown."""

    code: ClassVar[str] = "internal_error"


@define(eq=False)
class Exchange:
    """One request while it is answered."""

    gateway: Gateway
    scope: Scope
    receive: Receive
    send: Send
    request_id: str = field(factory=lambda: f"req_{chance().hex()}", init=False)
    _task: asyncio.Task[None] | None = field(default=None, init=False)
    _abort: CoeError | None = field(default=None, init=False)
    _unread: bool = field(default=False, init=False)
    """Whether a body is still coming in."""
    _is_small: bool = field(default=False, init=False)
    """Whether it is known to be small, and comes without being asked for."""
    _headers: Mapping[str, str] = field(factory=dict, init=False)
    """The handler's headers: an error that comes after it has answered carries them too."""
    _is_stream: bool = field(default=False, init=False)
    _started: bool = field(default=False, init=False)
    _ended: bool = field(default=False, init=False)
    _left: bool = field(default=False, init=False)
    _look_out: asyncio.TimerHandle | None = field(default=None, init=False)
    _watcher: asyncio.Task[None] | None = field(default=None, init=False)
    _writing: bool = field(default=False, init=False)
    _wrote_at_s: float = field(default=0.0, init=False)
    _timer: asyncio.TimerHandle | None = field(default=None, init=False)
    _comment: asyncio.Task[None] | None = field(default=None, init=False)

    async def run(self) -> None:
        """Answer, whatever happens."""
        self._task = asyncio.current_task()
        try:
            await self._serve()
        except ClientLeft:
            pass
        except CoeError as error:
            await self._refuse(error)
        except asyncio.CancelledError:
            if not self._left and self._abort is None:
                raise
            await self._after_cancel()
        except Exception as error:
            await self._refuse(self._unexpected(error))
        finally:
            self._stop()

    def abort(self, error: CoeError) -> None:
        """End the exchange with an error."""
        if self._task is not None and self._abort is None and not self._ended:
            self._abort = error
            self._task.cancel()

    async def _serve(self) -> None:
        path = self.scope["raw_path"].decode("latin-1")
        headers = _decoded(self.scope["headers"])
        self._unread = "transfer-encoding" in headers or headers.get("content-length", "0") != "0"
        self._is_small = _is_small(headers)
        self.gateway.check_open(path)
        async with self.gateway.lease() as application:
            match = self.gateway.routes(application).match(self.scope["method"], path)
            principal = await self._principal(application, match.route, headers)
            # Before the body is read: what waits at the gate takes no memory.
            async with self.gateway.passing(match.route, principal.group):
                request = await self._request(application, principal, match.params, headers)
                self._look_out = asyncio.get_running_loop().call_later(UNSEEN_S, self._begin_watch)
                await self._respond(await match.route.handler(request))

    async def _principal(
        self, application: Application, route: HttpRoute, headers: Mapping[str, str]
    ) -> Principal:
        client = self.scope["client"]
        credentials = Credentials(
            token=_bearer(headers), headers=headers, client_host=client and client[0]
        )
        return await admit(application, credentials, route, self.gateway.settings.allowed_hosts)

    async def _request(
        self,
        application: Application,
        principal: Principal,
        params: Mapping[str, str],
        headers: Mapping[str, str],
    ) -> HttpRequest:
        query = self.scope["query_string"]
        return HttpRequest(
            method=self.scope["method"],
            path=self.scope["path"],
            path_params=params,
            query=dict(parse_qsl(query.decode("latin-1"))) if query else {},
            headers={n: text for n, text in headers.items() if n not in CREDENTIAL_HEADERS},
            body=await self._body(headers) if self._unread else b"",
            principal=principal,
            application=application,
            request_id=self.request_id,
            items_limit=self.gateway.settings.body_items_limit,
        )

    async def _body(self, headers: Mapping[str, str]) -> bytes:
        limit = self.gateway.settings.body_limit_bytes
        if int(headers.get("content-length", "0")) > limit:
            raise _too_large(limit)
        timeout_s = self.gateway.settings.body_timeout_s
        try:
            return await within(timeout_s, "the body", self._read(limit))
        except TimeoutError:
            raise SlowRequest(f"the body was not there within {timeout_s:g} seconds") from None

    async def _read(self, limit: int) -> bytes:
        body = b""
        pieces = []
        size = 0
        while self._unread:
            message = await self.receive()
            if message["type"] == "http.disconnect":
                raise ClientLeft
            body = message.get("body", b"")
            size += len(body)
            if size > limit:
                raise _too_large(limit)
            pieces.append(body)
            self._unread = message.get("more_body", False)
        return body if len(pieces) == 1 else b"".join(pieces)

    def _begin_watch(self) -> None:
        self._watcher = asyncio.create_task(self._watch())

    async def _watch(self) -> None:
        """Cancel the work as soon as the client leaves."""
        while (await self.receive())["type"] != "http.disconnect":
            pass
        self._leave()

    def _leave(self) -> None:
        if not self._ended and self._task is not None:
            self._left = True
            self._task.cancel()

    async def _respond(self, response: HttpResponse) -> None:
        self._headers = response.headers
        if isinstance(response.body, bytes):
            await self._whole(response.status, response.content_type, response.body)
            return
        self._is_stream = response.content_type.startswith(SSE)
        self._wrote_at_s = asyncio.get_running_loop().time()
        self._arm(self.gateway.settings.keep_alive_s)
        await self._pieces(response, response.body)

    async def _pieces(self, response: HttpResponse, pieces: AsyncIterator[bytes]) -> None:
        async with contextlib.AsyncExitStack() as stack:
            if (aclose := getattr(pieces, "aclose", None)) is not None:
                stack.push_async_callback(aclose)
            async for piece in pieces:
                await self._write(piece, response)
        await self._write(b"", response, more=False)

    async def _write(self, body: bytes, response: HttpResponse, *, more: bool = True) -> None:
        """Send a piece, behind the head if it is the first; waits while the client is slow."""
        if self._comment is not None:
            await self._comment
        self._writing = True
        if not self._started:
            await self._start(response.status, response.content_type)
        self._ended = not more
        await self.send({"type": "http.response.body", "body": body, "more_body": more})
        self._writing = False
        self._wrote_at_s = asyncio.get_running_loop().time()

    async def _whole(self, status: int, content_type: str, body: bytes) -> None:
        if self._unread and self._is_small:
            await self._pass_over(SETTLE_S)
        await self._start(status, content_type, size_bytes=len(body))
        if self._unread:
            await self.send({"type": "http.response.body", "body": body, "more_body": True})
            await self._pass_over(self.gateway.settings.body_timeout_s)
            body = b""
        self._ended = True
        await self.send({"type": "http.response.body", "body": body, "more_body": False})

    async def _start(
        self, status: int, content_type: str, *, size_bytes: int | None = None
    ) -> None:
        head = [
            (b"x-request-id", self.request_id.encode()),
            (b"content-type", content_type.encode("latin-1")),
        ]
        if size_bytes is not None:
            head.append((b"content-length", b"%d" % size_bytes))
        if self._unread or self.gateway.draining:
            head.append((b"connection", b"close"))
        if self._is_stream:
            head.append((b"cache-control", b"no-cache"))
        head += [
            (name.encode("latin-1"), text.encode("latin-1")) for name, text in self._headers.items()
        ]
        self._started = True
        await self.send({"type": "http.response.start", "status": status, "headers": head})

    async def _pass_over(self, patience_s: float) -> None:
        """Read what is left of the body, keeping nothing of it, for a while."""
        with contextlib.suppress(TimeoutError):
            await within(patience_s, "the body", self._drain())

    async def _drain(self) -> None:
        while self._unread:
            message = await within(LINGER_S, "the rest of the body", self.receive())
            self._unread = message.get("more_body", False)

    async def _refuse(self, error: CoeError) -> None:
        """Tell the client, in the way that is still open.

        A response that is neither whole nor a stream of events is left without its end, so that
        the server closes the connection.
        """
        if self._left or self._ended:
            return
        if error.status >= SERVER_FAULT:
            logger.bind(request_id=self.request_id, code=error.code).warning("a request failed")
        if self._comment is not None:
            await self._comment
        if not self._started:
            self._is_stream = False
            response = error_response(error, self.request_id, self._headers)
            await self._respond(response)
        elif self._is_stream:
            self._ended = True
            told = event(error_body(error, self.request_id))
            await self.send({"type": "http.response.body", "body": told})

    async def _after_cancel(self) -> None:
        if self._task is not None:
            self._task.uncancel()
        if self._abort is not None:
            await self._refuse(self._abort)

    def _unexpected(self, error: Exception) -> CoeError:
        logger.bind(request_id=self.request_id).opt(exception=error).error(
            "a request failed by a mistake of ours"
        )
        self._headers = {}  # they may be the mistake
        return Unexpected(f"the server made a mistake; its log tells more under {self.request_id}")

    def _arm(self, delay_s: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(delay_s, self._tick)

    def _tick(self) -> None:
        """Send a comment if the stream was silent, end it if the client takes nothing."""
        settings = self.gateway.settings
        silent_s = asyncio.get_running_loop().time() - self._wrote_at_s
        if self._writing and silent_s >= settings.send_timeout_s:
            self._leave()
        elif self._writing or not self._is_stream or silent_s < settings.keep_alive_s:
            self._arm(max(settings.keep_alive_s - silent_s, settings.keep_alive_s / 4))
        else:
            self._comment = asyncio.create_task(self._send_comment())
            self._arm(settings.keep_alive_s)

    async def _send_comment(self) -> None:
        try:
            if not self._started:
                await self._start(200, SSE)
            await self.send({"type": "http.response.body", "body": COMMENT, "more_body": True})
        finally:
            self._comment = None

    def _stop(self) -> None:
        self._ended = True
        if self._timer is not None:
            self._timer.cancel()
        if self._look_out is not None:
            self._look_out.cancel()
        if self._watcher is not None:
            self._watcher.cancel()


def _decoded(pairs: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Decode the headers. Raises `InvalidRequest` for two hosts (RFC 9112, 3.2): a check of one of
    them would say nothing of the other.
    """
    headers: dict[str, str] = {}
    for raw_name, value in pairs:
        name = raw_name.decode("latin-1")
        if name == "host" and name in headers:
            raise InvalidRequest("the request has two Host headers; send one")
        headers[name] = value.decode("latin-1")
    return headers


def _is_small(headers: Mapping[str, str]) -> bool:
    if "transfer-encoding" in headers or "expect" in headers:
        return False
    return int(headers.get("content-length", "0")) <= SMALL_BYTES


def _bearer(headers: Mapping[str, str]) -> str | None:
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


def _too_large(limit: int) -> BodyTooLarge:
    return BodyTooLarge(
        f"the body is longer than the {limit} bytes that this server takes: send less, or raise "
        "[plugins.server] body_limit_bytes"
    )
