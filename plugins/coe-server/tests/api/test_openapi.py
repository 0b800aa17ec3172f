"""`/openapi.json` is valid, and true: what it says is what the server does."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any, Self

import httpx
import pytest
import schemathesis
from coe_server.openapi import document
from coe_server.plugin import ROUTES
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import load_all_checks

from coe_core.http import HttpRoute

MODELS = {
    "ChatBody": "speaker",
    "ResponseRequest": "speaker",
    "EmbeddingBody": "speaker-embed",
}


class Thread:
    """A deployment in a thread of its own, for clients that are not async."""

    def __init__(self, deploy: Any) -> None:
        self.url = ""
        self._deploy = deploy
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))

    async def _run(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        async with self._deploy() as running:
            self.url = running.url.removesuffix("/v1")
            self._ready.set()
            await self._stop.wait()

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(30)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()


@pytest.fixture
def api(deploy: Any) -> Iterator[Any]:
    with Thread(deploy) as server:
        written = httpx.get(f"{server.url}/openapi.json").json()
        # With names of models that exist, for a name that does not is all that would be tried.
        for shape, model in MODELS.items():
            written["components"]["schemas"][shape]["properties"]["model"] = {"const": model}
        schema = schemathesis.openapi.from_dict(written)
        schema.config.update(base_url=server.url)
        yield schema


load_all_checks()


@pytest.mark.parametrize("mode", GenerationMode)
@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
def test_the_server_does_what_the_document_says(
    api: Any, route: HttpRoute, mode: GenerationMode
) -> None:
    operation = api[route.path][route.method]
    if mode is GenerationMode.NEGATIVE and not route.request:
        return  # there is no wrong way to ask

    @settings(
        max_examples=30,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def check(case: Any) -> None:
        case.call_and_validate()

    check()


async def test_the_document_is_valid(running: Any) -> None:
    schemathesis.openapi.from_dict(document(running.host.application)).validate()
