"""Servers to test: with routes of the test's own, or with a whole deployment behind them."""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, NamedTuple

import httpx
import msgspec
import openai
import pytest
from attrs import define, evolve, field, frozen
from coe_server.gateway import Gateway
from coe_server.plugin import ServerPlugin
from coe_server.server import Server, listen
from coe_server.settings import Settings

from coe_core import hookimpl, parameter
from coe_core.application import Application
from coe_core.error import CoeError
from coe_core.host import Host
from coe_core.http import HttpRoute
from coe_core.model import FREE, Chunk, Model, Usage, Vectors
from coe_core.request import ChatRequest, EmbeddingRequest
from coe_core.settings import Settings as Deployment
from coe_core.testing import deployment


class Running(NamedTuple):
    """A server that answers."""

    port: int
    gateway: Gateway
    server: Server
    task: "asyncio.Task[None]"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def stop(self) -> None:
        self.server.handle_exit(signal.SIGTERM, None)

    async def raw(self, request: bytes) -> tuple[bytes, bytes]:
        """Send bytes and read to the end of the connection; returns head and body."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(request)
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        writer.close()
        return head, body


@contextlib.asynccontextmanager
async def running(lease: Any, settings: Settings) -> AsyncIterator[Running]:
    """Serve on a free port until the block ends."""
    listener = listen("127.0.0.1", 0)
    accepting = asyncio.Event()
    gateway = Gateway(lease, settings)
    server = Server(gateway, accepting.set)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    await accepting.wait()
    try:
        yield Running(listener.getsockname()[1], gateway, server, task)
    finally:
        await _stop(server, task)


async def _stop(server: Server, task: "asyncio.Task[None]") -> None:
    """End at once: uvicorn's own way takes two tenths of a second, in every test."""
    task.cancel()
    await asyncio.wait([task])
    for acceptor in server.acceptors:
        acceptor.close()
    for connection in list(server.server_state.connections):
        connection.transport.abort()
    if running := list(server.server_state.tasks):
        await asyncio.wait(running)


def bare(routes: Sequence[HttpRoute], **components: Any) -> Application:
    """An application of routes alone."""
    empty = Application(
        settings=Deployment(), plugins=(), problems=(), services={}, models={}, parameters={}
    )
    return evolve(empty, http_routes=tuple(routes), **components)


Serve = Callable[..., contextlib.AbstractAsyncContextManager[Running]]


@pytest.fixture
def serve() -> Serve:
    """Serve routes: `async with serve(route, ..., settings=..., authenticators=...) as server`.

    `held` tells of the application's leases.
    """

    def start(
        *routes: HttpRoute,
        settings: Settings | None = None,
        held: list[str] | None = None,
        **components: Any,
    ) -> contextlib.AbstractAsyncContextManager[Running]:
        application = bare(routes, **components)

        @contextlib.asynccontextmanager
        async def lease() -> AsyncIterator[Application]:
            if held is not None:
                held.append("leased")
            yield application
            if held is not None:
                held.append("returned")

        return running(lease, settings or Settings())

    return start


@frozen(kw_only=True)
class NoOptions:
    """No keys of its own."""


@define
class Actor:
    """A provider with the models `actor` and `actor-embed`, which say what they are told to."""

    lines: Sequence[Chunk | CoeError] = (
        Chunk(content="Good"),
        Chunk(content=" day"),
        Chunk(finish_reason="stop", usage=Usage(input_tokens=3, output_tokens=2)),
    )
    name: str = "actor"
    options: type[NoOptions] = NoOptions
    asked: list[Any] = field(factory=list)

    def models(self) -> Sequence[Model]:
        embed = Model(alias="actor-embed", provider="actor", name="e", capability="embedding")
        return [Model(alias="actor", provider="actor", name="c", price=FREE), embed]

    def describe(self, model: Model) -> Model:
        return model

    async def complete(
        self, model: Model, request: ChatRequest, *, group: str
    ) -> AsyncIterator[Chunk]:
        self.asked.append(request)
        for line in self.lines:
            if isinstance(line, CoeError):
                raise line
            yield line

    async def embed(self, model: Model, request: EmbeddingRequest, *, group: str) -> Vectors:
        self.asked.append(request)
        width = request.dimensions or 2
        rows = [[0.5, *[0.25] * (width - 1)] for _ in request.input or request.tokens]
        return Vectors.of(rows, Usage(input_tokens=len(rows)))


@frozen(kw_only=True)
class ActorSettings:
    mood: str = parameter("calm")


class Api(NamedTuple):
    """A deployment of the server and the actor."""

    server: Running
    actor: Actor
    host: Host

    def client(self) -> openai.AsyncOpenAI:
        return openai.AsyncOpenAI(base_url=f"{self.server.url}/v1", api_key="none", max_retries=0)

    async def post(self, path: str, body: Any, **headers: str) -> httpx.Response:
        named = {name.replace("_", "-"): text for name, text in headers.items()}
        content = body if isinstance(body, bytes) else msgspec.json.encode(body)
        async with httpx.AsyncClient(base_url=self.server.url, timeout=30) as client:
            return await client.post(f"/v1/{path}", content=content, headers=named)


@contextlib.asynccontextmanager
async def run_api(actor: Actor, settings: str = "") -> AsyncIterator[Api]:
    """Run a deployment."""

    @frozen
    class ActorPlugin:
        settings: ActorSettings

        @hookimpl
        def coe_model_providers(self, ctx: Any) -> list[Actor]:
            return [actor]

    toml = '[routing]\ndefault = "actor"\n[coe]\nembedder = "actor-embed"\n' + settings
    plugins: dict[str, type[Any]] = {"server": ServerPlugin, "actor": ActorPlugin}
    async with deployment(toml, plugins=plugins) as host:
        assert host.application.problems == ()
        async with running(host.lease, Settings()) as server:
            yield Api(server, actor, host)


@pytest.fixture
def start_api() -> Callable[..., contextlib.AbstractAsyncContextManager[Api]]:
    """Start a deployment: `async with start_api(Actor-lines..., settings=TOML) as api`."""

    def start(
        *lines: Chunk | CoeError, settings: str = ""
    ) -> contextlib.AbstractAsyncContextManager[Api]:
        return run_api(Actor(lines) if lines else Actor(), settings)

    return start


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    """A deployment whose model says "Good day"."""
    async with run_api(Actor()) as running_api:
        yield running_api
