"""What holds for every route: limits, errors, streams, and clients that leave."""

import asyncio
import json
import re
import signal
import threading
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from attrs import define, field, frozen
from coe_server.settings import Settings
from loguru import logger

from coe_core.error import BudgetExceeded, RateLimited, UpstreamCut
from coe_core.http import HttpRequest, HttpResponse, HttpRoute, json_response

REQUEST_ID = re.compile(r"req_[0-9a-f]{24}")
SSE = "text/event-stream"


def route(method: str, path: str, handler: Any) -> HttpRoute:
    return HttpRoute(method=method, path=path, handler=handler, summary="")  # type: ignore[arg-type]


async def echo(request: HttpRequest) -> HttpResponse:
    return json_response(
        {
            "method": request.method,
            "path": request.path,
            "params": dict(request.path_params),
            "query": dict(request.query),
            "headers": dict(request.headers),
            "body": request.body.decode("latin-1"),
            "group": request.principal.group,
        }
    )


ECHO = (route("POST", "/echo", echo), route("GET", "/echo/{name}", echo))


@frozen
class Held:
    """A body, and the thread that structured it."""

    rest: tuple[Any, ...] = ()
    thread: int = field(factory=threading.get_ident)


@define
class Stage:
    """Handlers that wait to be told, and say what becomes of them."""

    begun: asyncio.Event = field(factory=asyncio.Event)
    go: asyncio.Event = field(factory=asyncio.Event)
    cancelled: asyncio.Event = field(factory=asyncio.Event)
    pieces: list[bytes | Exception] = field(factory=list)
    content_type: str = SSE
    sent: int = 0

    async def wait(self, _: HttpRequest) -> HttpResponse:
        await self._hold()
        return json_response({"done": True})

    async def stream(self, _: HttpRequest) -> HttpResponse:
        return HttpResponse(
            content_type=self.content_type, body=self._pieces(), headers={"x-turn": "t1"}
        )

    async def hold(self, _: HttpRequest) -> HttpResponse:
        """Stream the pieces, then wait."""
        return HttpResponse(content_type=self.content_type, body=self._pieces(then_hold=True))

    async def _pieces(self, *, then_hold: bool = False) -> AsyncIterator[bytes]:
        for piece in self.pieces:
            if isinstance(piece, Exception):
                raise piece
            yield piece
            self.sent += 1
        if then_hold:
            await self._hold()
            yield b"data: last\n\n"

    async def _hold(self) -> None:
        self.begun.set()
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise

    @property
    def routes(self) -> tuple[HttpRoute, ...]:
        return (
            route("POST", "/wait", self.wait),
            route("POST", "/stream", self.stream),
            route("POST", "/hold", self.hold),
        )


def failing(error: Exception) -> HttpRoute:
    async def fail(_: HttpRequest) -> HttpResponse:
        raise error

    return route("POST", "/fail", fail)


def error_of(response: httpx.Response) -> dict[str, Any]:
    """Check what holds for every error, and return it."""
    error: dict[str, Any] = response.json()["error"]
    assert error.keys() == {"message", "type", "param", "code", "request_id"}
    assert error["request_id"] == response.headers["x-request-id"]
    assert REQUEST_ID.fullmatch(error["request_id"])
    return error


def post(path: str, body: str = "", *more: str) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "host: localhost", f"content-length: {len(body)}", *more]
    return "\r\n".join([*lines, "", body]).encode()


class TestRequest:
    async def test_reaches_the_handler(self, serve: Any) -> None:
        async with serve(*ECHO) as server, httpx.AsyncClient(base_url=server.url) as client:
            response = await client.post(
                "/echo?a=1&b=%ED%95%9C",
                content=b"body",
                headers={"X-A": "1", "Authorization": "Bearer s", "Cookie": "s", "Api-Key": "s"},
            )
        seen = response.json()
        assert (seen["method"], seen["path"], seen["body"]) == ("POST", "/echo", "body")
        assert seen["query"] == {"a": "1", "b": "한"}
        assert seen["headers"]["x-a"] == "1"
        assert not seen["headers"].keys() & {"authorization", "cookie", "api-key"}
        assert seen["group"] == "default"

    async def test_a_quoted_slash_stays_within_its_segment(self, serve: Any) -> None:
        async with serve(*ECHO) as server, httpx.AsyncClient(base_url=server.url) as client:
            response = await client.get("/echo/a%2Fb")
        assert response.json()["params"] == {"name": "a/b"}

    async def test_every_response_has_an_id_of_its_own(self, serve: Any) -> None:
        async with serve(*ECHO) as server, httpx.AsyncClient(base_url=server.url) as client:
            responses = [await client.get(path) for path in ("/echo/a", "/echo/b", "/none")]
        ids = {response.headers["x-request-id"] for response in responses}
        assert len(ids) == 3
        assert all(map(REQUEST_ID.fullmatch, ids))

    async def test_head_is_get_without_the_body(self, serve: Any) -> None:
        async with serve(*ECHO) as server, httpx.AsyncClient(base_url=server.url) as client:
            response = await client.head("/echo/a")
        assert response.status_code == 200
        assert int(response.headers["content-length"]) > 0
        assert response.content == b""

    async def test_pipelined_requests_are_answered_in_order(self, serve: Any) -> None:
        async with serve(*ECHO) as server:
            _, body = await server.raw(post("/echo", "1") + post("/echo", "2", "connection: close"))
        answers = [json.loads(line) for line in re.findall(rb"\{.*\}", body)]
        assert [answer["body"] for answer in answers] == ["1", "2"]


class TestRefusal:
    async def test_unknown_path(self, serve: Any) -> None:
        async with serve(*ECHO) as server, httpx.AsyncClient(base_url=server.url) as client:
            response = await client.post("/v1/none", content=b"x")
        assert response.status_code == 404
        assert error_of(response)["code"] == "not_found"

    async def test_wrong_method(self, serve: Any) -> None:
        async with serve(*ECHO) as server, httpx.AsyncClient(base_url=server.url) as client:
            response = await client.delete("/echo")
        assert response.status_code == 405
        assert response.headers["allow"] == "POST"
        assert error_of(response)["code"] == "method_not_allowed"

    @pytest.mark.parametrize("chunked", [False, True], ids=["declared", "chunked"])
    async def test_a_body_over_the_limit_is_refused_and_the_answer_arrives(
        self, serve: Any, *, chunked: bool
    ) -> None:
        async def pieces() -> AsyncIterator[bytes]:
            for _ in range(64):
                yield b"x" * 65536

        async with (
            serve(*ECHO, settings=Settings(body_limit_bytes=100_000)) as server,
            httpx.AsyncClient(base_url=server.url) as client,
        ):
            # 4 MiB: the client is still sending when it is refused.
            content = pieces() if chunked else b"x" * 64 * 65536
            response = await client.post("/echo", content=content)
        assert response.status_code == 413
        assert error_of(response)["code"] == "body_too_large"
        assert response.headers["connection"] == "close"

    async def test_who_sends_slowly_and_reads_last_is_told(
        self, serve: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("coe_server.exchange.LINGER_S", 1.0)
        pieces, piece = 15, b"x" * 100_000
        async with serve(*ECHO, settings=Settings(body_limit_bytes=100_000)) as server:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            size = pieces * len(piece)
            writer.write(
                f"POST /echo HTTP/1.1\r\nhost: localhost\r\ncontent-length: {size}\r\n\r\n".encode()
            )
            for _ in range(pieces):
                await asyncio.sleep(0.1)  # All of it takes longer than one pause may.
                writer.write(piece)
                await writer.drain()
            head, _, body = (await reader.read()).partition(b"\r\n\r\n")
            writer.close()
        assert head.startswith(b"HTTP/1.1 413 ")
        told = json.loads(body)["error"]
        assert told["code"] == "body_too_large"
        assert "100000 bytes" in told["message"]
        assert "[plugins.server] body_limit_bytes" in told["message"]

    async def test_a_body_that_is_declared_too_long_is_not_waited_for(self, serve: Any) -> None:
        async with serve(*ECHO) as server:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(
                b"POST /echo HTTP/1.1\r\nhost: localhost\r\ncontent-length: 999999999\r\n"
                b"expect: 100-continue\r\n\r\n"
            )
            async with asyncio.timeout(1):
                assert (await reader.readline()).startswith(b"HTTP/1.1 413 ")
            writer.close()

    @pytest.mark.parametrize(("lists", "status"), [(9, 200), (10, 413)])
    async def test_a_body_with_too_many_lists_is_refused(
        self, serve: Any, lists: int, status: int
    ) -> None:
        async def handler(request: HttpRequest) -> HttpResponse:
            await request.read(Held)
            return json_response({})

        async with (
            serve(route("POST", "/x", handler), settings=Settings(body_items_limit=10)) as server,
            httpx.AsyncClient(base_url=server.url) as client,
        ):
            response = await client.post("/x", json={"rest": [[]] * (lists - 1)})
        assert response.status_code == status

    @pytest.mark.parametrize(("lists", "elsewhere"), [(10, False), (2000, True)])
    async def test_a_body_for_which_others_would_wait_is_structured_elsewhere(
        self, serve: Any, lists: int, *, elsewhere: bool
    ) -> None:
        threads: list[int] = []

        async def handler(request: HttpRequest) -> HttpResponse:
            threads.append((await request.read(Held)).thread)
            return json_response({})

        async with (
            serve(route("POST", "/x", handler)) as server,
            httpx.AsyncClient(base_url=server.url) as client,
        ):
            await client.post("/x", json={"rest": [[]] * lists})
        assert (threads != [threading.get_ident()]) is elsewhere

    async def test_a_body_at_the_limit_is_taken(self, serve: Any) -> None:
        async with (
            serve(*ECHO, settings=Settings(body_limit_bytes=1000)) as server,
            httpx.AsyncClient(base_url=server.url) as client,
        ):
            assert (await client.post("/echo", content=b"x" * 1000)).status_code == 200
            assert (await client.post("/echo", content=b"x" * 1001)).status_code == 413

    async def test_a_body_that_does_not_come(self, serve: Any) -> None:
        async with serve(*ECHO, settings=Settings(body_timeout_s=0.1)) as server:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(b"POST /echo HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9\r\n\r\nab")
            head = await reader.readuntil(b"\r\n\r\n")
            writer.close()
        assert head.startswith(b"HTTP/1.1 408 ")
        assert b"connection: close" in head

    @pytest.mark.parametrize("sent", [b"", b"GET /a HTTP/1.1\r\nhost: lo"], ids=["none", "half"])
    async def test_a_head_that_does_not_come(self, serve: Any, sent: bytes) -> None:
        async with serve(*ECHO, settings=Settings(head_timeout_s=0.1)) as server:
            head, body = await server.raw(sent)
        assert head.startswith(b"HTTP/1.1 408 ")
        assert json.loads(body)["error"]["code"] == "request_timeout"

    async def test_the_second_head_of_a_connection_is_timed_too(self, serve: Any) -> None:
        async with serve(*ECHO, settings=Settings(head_timeout_s=0.1)) as server:
            _, body = await server.raw(post("/echo", "1") + b"GET /ec")
        assert b'"code":"request_timeout"' in body

    async def test_a_head_without_end(self, serve: Any) -> None:
        async with serve(*ECHO, settings=Settings(head_limit_bytes=5000)) as server:
            head, body = await server.raw(b"GET /echo HTTP/1.1\r\nx-long: " + b"x" * 5000)
        assert head.startswith(b"HTTP/1.1 431 ")
        assert json.loads(body)["error"]["code"] == "headers_too_large"

    async def test_what_is_not_http(self, serve: Any) -> None:
        async with serve(*ECHO) as server:
            head, body = await server.raw(b"\x16\x03\x01 hello\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 400 ")
        error = json.loads(body)["error"]
        assert error["code"] == "malformed_request"
        assert error["request_id"].encode() in head

    @pytest.mark.parametrize(
        "body",
        [
            b"transfer-encoding: chunked\r\n\r\n3\r\nabcdef\r\n0\r\n\r\n",
            b"transfer-encoding: chunked\r\n\r\n-3\r\nabc\r\n0\r\n\r\n",
            b"transfer-encoding: gzip\r\n\r\nabc",
            b"transfer-encoding: chunked\r\ncontent-length: 3\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
            b"content-length: 3\r\ncontent-length: 4\r\n\r\nabcd",
        ],
    )
    async def test_a_body_that_cannot_be_told_from_what_follows(
        self, serve: Any, body: bytes
    ) -> None:
        async with serve(*ECHO) as server:
            head, told = await server.raw(b"POST /echo HTTP/1.1\r\nhost: localhost\r\n" + body)
        assert head.startswith(b"HTTP/1.1 400 ")
        assert json.loads(told)["error"]["code"] == "malformed_request"

    async def test_what_is_not_http_waits_for_the_answers_before_it(self, serve: Any) -> None:
        async with serve(*ECHO) as server:
            _, answers = await server.raw(post("/echo", "1") + b"hello\r\n\r\n")
        assert b"400 Bad" not in answers
        assert answers.endswith(b'"group":"default"}')

    async def test_a_refusal_arrives_though_the_client_goes_on_sending(self, serve: Any) -> None:
        async with serve(*ECHO) as server:
            head, _ = await server.raw(b"GET /echo HTTP/1.1\r\nx-long: " + b"x" * 5_000_000)
        assert head.startswith(b"HTTP/1.1 431 ")

    async def test_two_hosts_are_refused_whichever_comes_last(self, serve: Any) -> None:
        async with serve(*ECHO) as server:
            for hosts in (("evil.example", "localhost"), ("localhost", "evil.example")):
                lines = "".join(f"host: {host}\r\n" for host in hosts)
                head, body = await server.raw(
                    f"GET /echo/a HTTP/1.1\r\n{lines}connection: close\r\n\r\n".encode()
                )
                assert head.startswith(b"HTTP/1.1 400 ")
                assert "two Host headers" in json.loads(body)["error"]["message"]

    async def test_a_request_to_upgrade_is_answered_as_it_is(self, serve: Any) -> None:
        async with serve(*ECHO) as server:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(
                b"GET /echo/a HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\n"
                b"upgrade: websocket\r\n\r\n"
            )
            assert (await reader.readline()).startswith(b"HTTP/1.1 200 ")
            writer.close()


class TestRefusalBeforeTheBody:
    """Of a request whose body nobody has read."""

    @pytest.mark.parametrize("size", [1, 64 * 1024])
    async def test_of_a_small_body_keeps_the_connection(self, serve: Any, size: int) -> None:
        async with serve(*ECHO) as server:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            refused, _, body = post("/nothing", "x" * size).partition(b"\r\n\r\n")
            writer.write(refused + b"\r\n\r\n" + body[:-1])
            await _until(lambda: server.gateway._running)
            writer.write(body[-1:])  # The end of it comes later.
            writer.write(post("/echo", "1", "connection: close"))
            answers = await reader.read()
            writer.close()
        assert re.findall(rb"HTTP/1.1 (\d+)", answers) == [b"404", b"200"]
        assert answers.count(b"connection: close") == 1

    @pytest.mark.parametrize(
        ("lines", "body"),
        [
            (f"content-length: {64 * 1024 + 1}", "x" * (64 * 1024 + 1)),
            ("transfer-encoding: chunked", "1\r\nx\r\n0\r\n\r\n"),
            ("content-length: 1\r\nexpect: 100-continue", ""),
            ("content-length: 2", "x"),
        ],
        ids=["large", "of unknown length", "not sent before it is wanted", "never whole"],
    )
    async def test_of_another_body_ends_the_connection(
        self, serve: Any, lines: str, body: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("coe_server.exchange.SETTLE_S", 0.05)
        monkeypatch.setattr("coe_server.exchange.LINGER_S", 0.05)
        async with serve(*ECHO) as server:
            head, told = await server.raw(
                f"POST /nothing HTTP/1.1\r\nhost: localhost\r\n{lines}\r\n\r\n{body}".encode()
            )
        assert head.startswith(b"HTTP/1.1 404 ")
        assert b"connection: close" in head
        assert json.loads(told)["error"]["code"] == "not_found"

    async def test_whose_client_leaves_meanwhile_leaves_nothing_behind(self, serve: Any) -> None:
        async with serve(*ECHO) as server:
            _, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(b"POST /nothing HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9\r\n\r\n")
            await _until(lambda: server.gateway._running)
            writer.transport.abort()
            await _until(lambda: server.gateway.idle)


class TestFailure:
    async def test_a_known_error_keeps_its_status_and_says_when_to_come_again(
        self, serve: Any
    ) -> None:
        slow = failing(RateLimited("slower", param="model", retry_after_s=1.2))
        async with serve(slow) as server, httpx.AsyncClient(base_url=server.url) as client:
            response = await client.post("/fail")
        assert response.status_code == 429
        assert response.headers["retry-after"] == "2"
        told = error_of(response)
        assert (told["message"], told["param"]) == ("slower", "model")
        assert (told["type"], told["code"]) == ("rate_limit_error", "rate_limit_exceeded")

    async def test_a_mistake_is_logged_under_the_request_id_and_never_shown(
        self, serve: Any
    ) -> None:
        logged: list[Any] = []
        sink = logger.add(logged.append)
        async with (
            serve(failing(ZeroDivisionError("secret text"))) as server,
            httpx.AsyncClient(base_url=server.url) as client,
        ):
            response = await client.post("/fail")
        logger.remove(sink)
        assert response.status_code == 500
        error = error_of(response)
        assert error["code"] == "internal_error"
        assert "secret" not in response.text
        assert "Traceback" not in response.text
        record = next(message.record for message in logged if message.record["exception"])
        assert record["extra"]["request_id"] == error["request_id"]
        assert isinstance(record["exception"].value, ZeroDivisionError)

    async def test_the_server_goes_on_after_it(self, serve: Any) -> None:
        async with (
            serve(failing(RuntimeError()), *ECHO) as server,
            httpx.AsyncClient(base_url=server.url) as client,
        ):
            assert (await client.post("/fail", content=b"x")).status_code == 500
            assert (await client.post("/echo", content=b"x")).status_code == 200


class TestStream:
    async def test_sends_each_piece_as_it_comes(self, serve: Any) -> None:
        stage = Stage(pieces=[b"data: 1\n\n", b"data: 2\n\n"])
        async with (
            serve(*stage.routes) as server,
            httpx.AsyncClient(base_url=server.url) as client,
            client.stream("POST", "/hold") as response,
        ):
            received = response.aiter_bytes()
            assert await anext(received) + await anext(received) == b"data: 1\n\ndata: 2\n\n"
            stage.go.set()
            assert await anext(received) == b"data: last\n\n"
        assert response.headers["content-type"] == SSE
        assert response.headers["cache-control"] == "no-cache"

    async def test_an_error_before_the_first_piece_is_an_http_error(self, serve: Any) -> None:
        stage = Stage(pieces=[BudgetExceeded("empty")])
        async with (
            serve(*stage.routes) as server,
            httpx.AsyncClient(base_url=server.url) as client,
        ):
            response = await client.post("/stream")
        assert response.status_code == 429
        assert error_of(response)["code"] == "insufficient_quota"
        assert response.headers["x-turn"] == "t1"
        assert response.headers["content-type"] == "application/json"

    @pytest.mark.parametrize(
        ("error", "code"),
        [(UpstreamCut("cut"), "upstream_cut"), (ValueError("secret"), "internal_error")],
    )
    async def test_an_error_after_it_is_the_last_event(
        self, serve: Any, error: Exception, code: str
    ) -> None:
        stage = Stage(pieces=[b"data: 1\n\n", error])
        async with (
            serve(*stage.routes) as server,
            httpx.AsyncClient(base_url=server.url) as client,
        ):
            response = await client.post("/stream")
        assert response.status_code == 200
        first, last, rest = response.text.split("\n\n")
        assert (first, rest) == ("data: 1", "")
        told = json.loads(last.removeprefix("data: "))["error"]
        assert told["code"] == code
        assert told["request_id"] == response.headers["x-request-id"]
        assert "secret" not in response.text

    async def test_what_is_no_event_stream_is_cut(self, serve: Any) -> None:
        stage = Stage(pieces=[b"half", UpstreamCut("cut")], content_type="application/zip")
        async with (
            serve(*stage.routes) as server,
            httpx.AsyncClient(base_url=server.url) as client,
        ):
            with pytest.raises(httpx.RemoteProtocolError):
                await client.post("/stream")

    async def test_a_silent_stream_gets_comments(self, serve: Any) -> None:
        stage = Stage()
        async with (
            serve(*stage.routes, settings=Settings(keep_alive_s=0.02)) as server,
            httpx.AsyncClient(base_url=server.url) as client,
            client.stream("POST", "/hold") as response,
        ):
            lines = response.aiter_lines()
            comments = [line async for line in _some(lines, 4) if line]
            assert all(line.startswith(":") for line in comments)
            stage.go.set()
            rest = [line async for line in lines if line and not line.startswith(":")]
        assert rest == ["data: last"]

    async def test_an_error_after_a_comment_is_an_event(self, serve: Any) -> None:
        async def silent() -> AsyncIterator[bytes]:
            await seen.wait()
            raise UpstreamCut("cut")
            yield b""

        async def handler(_: HttpRequest) -> HttpResponse:
            return HttpResponse(content_type=SSE, body=silent())

        seen = asyncio.Event()
        async with (
            serve(
                route("POST", "/silent", handler), settings=Settings(keep_alive_s=0.02)
            ) as server,
            httpx.AsyncClient(base_url=server.url) as client,
            client.stream("POST", "/silent") as response,
        ):
            lines = response.aiter_lines()
            assert (await anext(lines)).startswith(":")
            seen.set()
            rest = [line async for line in lines if line and not line.startswith(":")]
        assert response.status_code == 200
        assert json.loads(rest[0].removeprefix("data: "))["error"]["code"] == "upstream_cut"

    async def test_a_client_that_does_not_read_holds_the_stream_back(self, serve: Any) -> None:
        count = 2000
        stage = Stage(pieces=[b"x" * 65536] * count, content_type="application/octet-stream")
        async with serve(*stage.routes) as server:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=65536)
            writer.write(post("/stream", "", "connection: close"))
            sent = await _settled(stage)
            assert 0 < sent < count / 2
            size = 0
            while piece := await reader.read(1 << 20):
                size += len(piece)
            writer.close()
        assert stage.sent == count
        assert size > count * 65536

    async def test_a_client_that_reads_no_more_is_given_up(self, serve: Any) -> None:
        async def endless() -> AsyncIterator[bytes]:
            try:
                while True:
                    yield b"x" * 65536
            finally:
                closed.set()

        async def handler(_: HttpRequest) -> HttpResponse:
            return HttpResponse(content_type="application/octet-stream", body=endless())

        closed = asyncio.Event()
        settings = Settings(send_timeout_s=0.1, keep_alive_s=0.05)
        async with serve(route("POST", "/endless", handler), settings=settings) as server:
            _, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=65536)
            writer.write(post("/endless"))
            async with asyncio.timeout(5):
                await closed.wait()
            writer.close()

    @pytest.mark.parametrize("text", ["한", "a\r\nb: c"])
    async def test_a_header_that_is_none_is_a_mistake_of_the_handler(
        self, serve: Any, text: str
    ) -> None:
        async def handler(_: HttpRequest) -> HttpResponse:
            return HttpResponse(headers={"x-a": text})

        async with serve(route("POST", "/bad", handler), *ECHO) as server:
            head, _ = await server.raw(post("/bad", "", "connection: close"))
            assert b" 200 " not in head
            head, _ = await server.raw(post("/echo", "", "connection: close"))
            assert b" 200 " in head


class TestHttp10:
    """What an old proxy speaks: no chunks, and every connection ends with its answer."""

    HEAD = b"%s HTTP/1.0\r\nhost: localhost\r\nconnection: keep-alive\r\n"

    async def test_a_stream_is_sent_piece_by_piece_without_chunks(self, serve: Any) -> None:
        stage = Stage(pieces=[b"data: 1\n\n"])
        async with serve(*stage.routes) as server:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(self.HEAD % b"POST /hold" + b"\r\n")
            head = await reader.readuntil(b"\r\n\r\n")
            assert await reader.readuntil(b"\n\n") == b"data: 1\n\n"
            stage.go.set()
            assert await reader.read() == b"data: last\n\n"
            writer.close()
        assert b"transfer-encoding" not in head
        assert head.count(b"connection: close\r\n") == 1

    async def test_a_whole_answer_has_its_length(self, serve: Any) -> None:
        async with serve(*ECHO) as server:
            head, body = await server.raw(self.HEAD % b"POST /echo" + b"content-length: 1\r\n\r\n1")
            assert json.loads(body)["body"] == "1"
            assert b"content-length: %d\r\n" % len(body) in head + b"\r\n"
            head, body = await server.raw(self.HEAD % b"HEAD /echo/a" + b"\r\n")
            assert head.startswith(b"HTTP/1.1 200 ")
            assert body == b""

    async def test_a_client_that_leaves_ends_the_work(self, serve: Any) -> None:
        stage = Stage(pieces=[b"data: 1\n\n"])
        async with serve(*stage.routes) as server:
            _, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(self.HEAD % b"POST /hold" + b"\r\n")
            await stage.begun.wait()
            writer.close()
            await _until(stage.cancelled.is_set)

    async def test_a_client_that_does_not_read_holds_the_stream_back(self, serve: Any) -> None:
        stage = Stage(pieces=[b"x" * 65536] * 2000, content_type="application/octet-stream")
        async with serve(*stage.routes) as server:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=65536)
            writer.write(self.HEAD % b"POST /stream" + b"\r\n")
            assert 0 < await _settled(stage) < 1000
            size = 0
            while piece := await reader.read(1 << 20):
                size += len(piece)
            writer.close()
        assert size > 2000 * 65536


async def _some(lines: AsyncIterator[str], count: int) -> AsyncIterator[str]:
    for _ in range(count):
        yield await anext(lines)


async def _settled(stage: Stage) -> int:
    """Wait until the stream stands still."""
    before = -1
    while before != stage.sent or stage.sent == 0:
        before = stage.sent
        await asyncio.sleep(0.1)
    return stage.sent


class TestClientThatLeaves:
    @pytest.mark.parametrize("path", ["/wait", "/hold"])
    async def test_ends_the_work_within_a_tenth_of_a_second(self, serve: Any, path: str) -> None:
        stage = Stage(pieces=[b"data: 1\n\n"])
        async with serve(*stage.routes) as server:
            _, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(post(path))
            await stage.begun.wait()
            writer.close()
            async with asyncio.timeout(0.1):
                await stage.cancelled.wait()

    async def test_while_it_sends_its_body_is_forgotten(self, serve: Any) -> None:
        async with serve(*ECHO) as server:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(b"POST /echo HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9\r\n\r\nab")
            await _until(lambda: not server.gateway.idle)
            writer.close()
            await _until(lambda: server.gateway.idle)
            assert await reader.read() == b""

    async def test_does_not_disturb_the_others(self, serve: Any) -> None:
        leaving, staying = Stage(), Stage()
        routes = (*ECHO, route("POST", "/a", leaving.wait), route("POST", "/b", staying.wait))
        async with serve(*routes) as server, httpx.AsyncClient(base_url=server.url) as client:
            task = asyncio.create_task(client.post("/b"))
            _, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(post("/a"))
            await leaving.begun.wait()
            await staying.begun.wait()
            writer.close()
            await leaving.cancelled.wait()
            staying.go.set()
            assert (await task).json() == {"done": True}


async def _until(condition: Any) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.005)


class TestDrain:
    async def test_running_requests_end_and_new_ones_are_refused(self, serve: Any) -> None:
        stage = Stage()
        async with (
            serve(*ECHO, *stage.routes, route("GET", "/healthz", echo)) as server,
            httpx.AsyncClient(base_url=server.url) as client,
        ):
            running = asyncio.create_task(client.post("/wait"))
            await stage.begun.wait()
            server.stop()
            refused = await client.get("/echo/a")
            alive = await client.get("/healthz")
            assert not server.task.done()
            stage.go.set()
            answer = await running
            await server.task
        assert refused.status_code == 503
        assert refused.headers["connection"] == "close"
        assert error_of(refused)["code"] == "service_unavailable"
        assert alive.status_code == 200
        assert answer.json() == {"done": True}
        assert answer.headers["connection"] == "close"

    async def test_takes_no_longer_than_it_may(self, serve: Any) -> None:
        stage = Stage(pieces=[b"data: 1\n\n"])
        settings = Settings(drain_timeout_s=0)
        async with (
            serve(*stage.routes, settings=settings) as server,
            httpx.AsyncClient(base_url=server.url) as client,
        ):
            plain = asyncio.create_task(client.post("/wait"))
            streamed = asyncio.create_task(client.post("/hold"))
            await stage.begun.wait()
            await _until(lambda: stage.sent == 1)
            server.stop()
            await server.task
            assert (await plain).status_code == 503
            last = (await streamed).text.split("\n\n")[1]
        assert json.loads(last.removeprefix("data: "))["error"]["code"] == "service_unavailable"

    async def test_a_second_ctrl_c_does_not_wait(self, serve: Any) -> None:
        stage = Stage()
        async with serve(*stage.routes) as server, httpx.AsyncClient(base_url=server.url) as client:
            plain = asyncio.create_task(client.post("/wait"))
            await stage.begun.wait()
            server.server.handle_exit(signal.SIGINT, None)
            server.server.handle_exit(signal.SIGINT, None)
            async with asyncio.timeout(3):
                await server.task
            assert (await plain).status_code == 503

    async def test_a_connection_that_was_just_taken_is_answered(
        self, serve: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("coe_server.protocol.PARTING_S", 20)
        async with serve(*ECHO) as server:
            server.server.config.timeout_graceful_shutdown = 20
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            await _until(lambda: server.server.server_state.connections)
            server.stop()
            await _until(lambda: not server.server.acceptors[0].is_open)
            writer.write(post("/echo"))
            answer = await reader.read()
            writer.close()
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"connection: close" in answer

    async def test_without_requests_ends_at_once(self, serve: Any) -> None:
        async with serve(*ECHO) as server:
            server.stop()
            async with asyncio.timeout(2):
                await server.task


class TestLease:
    async def test_lasts_until_the_response_has_ended(self, serve: Any) -> None:
        held: list[str] = []
        stage = Stage(pieces=[b"data: 1\n\n"])
        async with (
            serve(*stage.routes, held=held) as server,
            httpx.AsyncClient(base_url=server.url) as client,
            client.stream("POST", "/hold") as response,
        ):
            await anext(response.aiter_bytes())
            await stage.begun.wait()
            assert held == ["leased"]
            stage.go.set()
            await _until(lambda: held == ["leased", "returned"])
