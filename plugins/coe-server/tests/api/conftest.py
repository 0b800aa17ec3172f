"""A whole deployment: the server, and one plugin with a model that says what the test tells it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from attrs import define, field, frozen
from coe_server.gateway import Gateway
from coe_server.plugin import ServerPlugin
from coe_server.server import Server, listen
from coe_server.settings import Settings

from coe_core import hookimpl
from coe_core.access import Credentials, GroupName, Principal
from coe_core.ephemeral import EphemeralRecords
from coe_core.error import CoeError, Unauthenticated
from coe_core.host import Host
from coe_core.model import FREE, Chunk, Model, Usage, Vectors
from coe_core.request import ChatRequest, EmbeddingRequest
from coe_core.service import Clock, Journal, RecordReader, Service, SessionStore
from coe_core.testing import deployment

DEFAULTS = """
[coe]
embedder = "speaker-embed"
[routing]
default = "speaker"
"""
WORDS = (
    Chunk(content="Good"),
    Chunk(content=" day"),
    Chunk(finish_reason="stop"),
    Chunk(usage=Usage(input_tokens=3, output_tokens=2)),
)


@frozen(kw_only=True)
class NoOptions:
    """No keys of its own."""


@define
class Speaker:
    """A provider with the models `speaker` and `speaker-embed`."""

    says: Sequence[Chunk | CoeError] = WORDS
    name: str = "speaker"
    options: type[NoOptions] = NoOptions
    asked: list[ChatRequest | EmbeddingRequest] = field(factory=list)
    silent: bool = False
    """After its first chunk the model then waits for `release`."""
    arrived: asyncio.Event = field(factory=asyncio.Event)
    release: asyncio.Event = field(factory=asyncio.Event)

    def models(self) -> Sequence[Model]:
        chat = Model(alias="speaker", provider="speaker", name="chat", price=FREE)
        embed = Model(
            alias="speaker-embed",
            provider="speaker",
            name="embed",
            capability="embedding",
            price=FREE,
        )
        return [chat, embed]

    def describe(self, model: Model) -> Model:
        return model

    async def complete(
        self, model: Model, request: ChatRequest, *, group: str
    ) -> AsyncIterator[Chunk]:
        self.asked.append(request)
        for piece in self.says:
            if isinstance(piece, CoeError):
                raise piece
            yield piece
            self.arrived.set()
            if self.silent:
                await self.release.wait()

    async def embed(self, model: Model, request: EmbeddingRequest, *, group: str) -> Vectors:
        self.asked.append(request)
        rows = [[float(len(text)), 1.0] for text in request.input or request.tokens]
        return Vectors.of(rows, Usage(input_tokens=len(rows)))


@frozen
class KeyIsGroup:
    """An authenticator: the key `k-NAME` is of the group NAME."""

    name: str = "key-is-group"

    async def authenticate(self, credentials: Credentials) -> Principal | None:
        if credentials.token is None:
            return None
        if not credentials.token.startswith("k-"):
            raise Unauthenticated("no such key")
        return Principal(group=GroupName(credentials.token.removeprefix("k-")))


@define
class World:
    """What outlives a restart, and what a test looks at."""

    speaker: Speaker = field(factory=Speaker)
    records: EphemeralRecords = field(factory=EphemeralRecords)
    keys: bool = False


def world_plugin(world: World) -> type:
    class WorldPlugin:
        @hookimpl
        def coe_services(self, ctx: Any) -> list[Service]:
            contracts = (Journal, RecordReader, SessionStore)
            return [Service(contract=c, provider=world.records) for c in contracts]

        @hookimpl
        def coe_model_providers(self, ctx: Any) -> list[Speaker]:
            return [world.speaker]

        @hookimpl
        def coe_authenticators(self, ctx: Any) -> list[KeyIsGroup]:
            return [KeyIsGroup()] if world.keys else []

    return WorldPlugin


@define
class Deployment:
    """A server in this process."""

    host: Host
    port: int
    world: World
    clients: list[openai.AsyncOpenAI] = field(factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def client(self, group: str = "default") -> openai.AsyncOpenAI:
        made = openai.AsyncOpenAI(base_url=self.url, api_key=f"k-{group}", max_retries=0)
        self.clients.append(made)
        return made

    async def post(self, path: str, body: Any, **headers: str) -> httpx.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        async with httpx.AsyncClient(base_url=self.url, timeout=30) as client:
            return await client.post(path, json=body, headers=named)


Deploy = Callable[..., contextlib.AbstractAsyncContextManager[Deployment]]


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def deploy(tmp_path: Path, world: World) -> Deploy:
    """Start a server on the test's own data folder; a second time is another worker, or the same
    machine after a restart.
    """

    @contextlib.asynccontextmanager
    async def start(clock: Clock | None = None) -> AsyncIterator[Deployment]:
        plugins = {"server": ServerPlugin, "world": world_plugin(world)}
        async with deployment(DEFAULTS, plugins=plugins, data_dir=tmp_path, clock=clock) as host:
            assert host.application.problems == ()
            listener = listen("127.0.0.1", 0)
            accepting = asyncio.Event()
            server = Server(Gateway(host.lease, Settings()), accepting.set)
            task = asyncio.create_task(server.serve(sockets=[listener]))
            await accepting.wait()
            running = Deployment(host, listener.getsockname()[1], world)
            try:
                yield running
            finally:
                for client in running.clients:
                    await client.close()
                server.should_exit = server.force_exit = True
                await task

    return start


@pytest.fixture
async def running(deploy: Deploy) -> AsyncIterator[Deployment]:
    async with deploy() as server:
        yield server
