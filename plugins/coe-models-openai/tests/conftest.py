import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from coe_models_openai.options import Options
from coe_models_openai.provider import OpenAIProvider

from coe_core.message import user
from coe_core.model import Chunk, Model
from coe_core.request import ChatRequest
from coe_core.testing.upstream import Upstream
from coe_core.timeout import NAMES, Timeouts

SECRET = "sk-synthetic-0123456789"

Ask = Callable[..., AsyncIterator[Chunk]]


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with Upstream() as running:
        yield running


@pytest.fixture
async def leap(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Let so many seconds go by at once, for all that waits on the event loop's clock."""
    loop = asyncio.get_running_loop()
    time, ahead = loop.time, [0.0]
    monkeypatch.setattr(loop, "time", lambda: time() + sum(ahead))
    return ahead.append


@pytest.fixture
async def provider() -> AsyncIterator[OpenAIProvider]:
    made = OpenAIProvider()
    yield made
    await made.close()


@pytest.fixture
def secret(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("SYNTHETIC_KEY", SECRET)
    return SECRET


@pytest.fixture
def model(upstream: Upstream) -> Callable[..., Model]:
    def make(**options: Any) -> Model:
        limits = {name: options.pop(name) for name in NAMES if name in options}
        known = Options(**{"base_url": upstream.url} | options)
        return Model(
            alias="small",
            provider="openai",
            name="gpt-synthetic",
            options=known,
            timeouts=Timeouts.of(**limits),
        )

    return make


@pytest.fixture
def ask(provider: OpenAIProvider, model: Callable[..., Model]) -> Ask:
    """Ask with a request's fields; `options` are the model's."""

    def complete(options: dict[str, Any] | None = None, **fields: Any) -> AsyncIterator[Chunk]:
        asked = {"model": "small", "messages": (user("안녕"),)} | fields
        return provider.complete(model(**options or {}), ChatRequest(**asked), group="default")

    return complete


@pytest.fixture
def collect(ask: Ask) -> Callable[..., Any]:
    async def gather(options: dict[str, Any] | None = None, **fields: Any) -> list[Chunk]:
        return [chunk async for chunk in ask(options, **fields)]

    return gather
