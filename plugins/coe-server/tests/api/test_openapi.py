"""`/openapi.json` is valid, and true: what it says is what the server does."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal, Self

import httpx
import jsonschema_rs
import pytest
import schemathesis
from attrs import evolve, field, frozen
from attrs.validators import ge, gt, in_, le, lt, max_len, min_len, optional
from coe_server.openapi import document
from coe_server.routes import ROUTES
from coe_server.schema import Components
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import load_all_checks

from coe_core import parameter
from coe_core.codec import decode, encode
from coe_core.error import Conflict, RateLimited, Unauthenticated, UnknownModel
from coe_core.http import HttpRoute
from coe_core.parameter import declared
from coe_core.testing.turn import empty_application

DIALECT = "https://json-schema.org/draft/2020-12/schema"
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
        max_examples=15,
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
    written = decode(encode(document(running.host.application)))
    schemathesis.openapi.from_dict(written).validate()
    for name, schema in written["components"]["schemas"].items():
        jsonschema_rs.meta.validate({"$schema": DIALECT, **schema})
        assert schema["description"], name


async def test_every_route_is_in_it(running: Any) -> None:
    application = running.host.application
    paths = document(application)["paths"]
    assert {(route.path, route.method.lower()) for route in application.http_routes} == {
        (path, method) for path, methods in paths.items() for method in methods
    }
    operations = [operation for methods in paths.values() for operation in methods.values()]
    assert len({operation["operationId"] for operation in operations}) == len(operations)
    assert all(operation["summary"] and operation["description"] for operation in operations)


@pytest.mark.parametrize("keys", [True, False])
async def test_a_key_is_asked_for_once_there_are_keys(
    deploy: Any,
    world: Any,
    keys: bool,
) -> None:
    world.keys = keys
    async with deploy() as running:
        paths = document(running.host.application)["paths"]
        without = await running.post("/responses", {"model": "speaker", "input": "?"})
    wanted = [{"key": []}] if keys else [{"key": []}, {}]
    assert paths["/v1/responses"]["post"]["security"] == wanted
    assert paths["/healthz"]["get"]["security"] == []
    assert without.status_code == (401 if keys else 200)


async def test_every_error_is_under_its_status(running: Any) -> None:
    failures = document(running.host.application)["components"]["responses"]
    for error in (Conflict, Unauthenticated, RateLimited, UnknownModel):
        assert error.code in failures[str(error.status)]["description"]


@frozen(kw_only=True)
class Query:
    """What is looked for."""

    limit: int | None = field(default=None, validator=optional([ge(1), le(9)]))
    """How many at most."""
    kind: Literal["a", "b"]


@frozen(kw_only=True)
class Node:
    """A tree."""

    name: str = field(validator=[min_len(1), max_len(8)])
    """What it is called."""
    children: tuple[Node, ...] = ()
    weight: float = field(default=0.5, validator=[gt(0), lt(1)])
    at: datetime | None = None
    price: Decimal | None = None
    color: str = field(default="red", validator=in_(("red", "blue")))
    others: Mapping[str, int] = field(factory=dict)


@frozen(kw_only=True)
class Settings:
    mood: str = parameter("calm", validator=in_(("calm", "wild")))
    """How it speaks."""


async def search(request: Any) -> Any:
    """Look for something."""


def test_a_plugins_own_route() -> None:
    route = HttpRoute(
        method="GET",
        path="/x/{id}",
        handler=search,
        summary="Search",
        query=Query,
        response=Node,
    )
    (mood,) = declared("moody", Settings())
    written = document(evolve(empty_application(), http_routes=(route,), parameters={"mood": mood}))
    operation = written["paths"]["/x/{id}"]["get"]
    assert operation["description"] == "Look for something."
    assert operation["parameters"] == [
        {"name": "id", "in": "path", "required": True, "schema": {"type": "string"}},
        {
            "name": "limit",
            "in": "query",
            "description": "How many at most.",
            "required": False,
            "schema": {"type": "integer", "minimum": 1, "maximum": 9},
        },
        {"name": "kind", "in": "query", "required": True, "schema": {"enum": ["a", "b"]}},
    ]
    schemas = written["components"]["schemas"]
    assert schemas["CoeOptions"]["properties"]["params"] == {
        "type": "object",
        "description": "Values of parameters for this request alone.",
        "properties": {
            "mood": {
                "type": "string",
                "enum": ["calm", "wild"],
                "default": "calm",
                "description": "How it speaks.",
            }
        },
        "additionalProperties": False,
    }
    assert schemas["Node"] == {
        "type": "object",
        "description": "A tree.",
        "properties": {
            "name": {
                "type": "string",
                "minLength": 1,
                "maxLength": 8,
                "description": "What it is called.",
            },
            "children": {
                "type": "array",
                "items": {"$ref": "#/components/schemas/Node"},
                "default": [],
            },
            "weight": {
                "type": "number",
                "exclusiveMinimum": 0,
                "exclusiveMaximum": 1,
                "default": 0.5,
            },
            "at": {"type": ["string", "null"], "format": "date-time"},
            "price": {"type": ["string", "number", "null"], "format": "decimal"},
            "color": {"type": "string", "enum": ["red", "blue"], "default": "red"},
            "others": {"type": "object", "additionalProperties": {"type": "integer"}},
        },
        "required": ["name"],
        "additionalProperties": True,
    }


def test_two_classes_of_one_name_are_two_schemas() -> None:
    one, other = Components(), type("Node", (), {"__annotations__": {}, "__doc__": "Another."})
    first, second = one.schema(Node), one.schema(frozen(other))
    assert first != second
    assert len(one.schemas) == 2
