"""The laws of HTTP routes."""

from __future__ import annotations

import inspect
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from typing import Any, cast, get_args

import attrs
from hypothesis import strategies as st

from coe_core.access import LOCAL, RANK, AccessRole, GroupName, Principal
from coe_core.application import Application
from coe_core.codec import decode, encode, structure
from coe_core.error import CoeError
from coe_core.http import HttpRequest, HttpResponse, HttpRoute
from coe_core.testing.contracts.component import survives_cancellation
from coe_core.testing.contracts.law import Contract, law
from coe_core.testing.strategies import json_values, names, texts
from coe_core.testing.turn import empty_application

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
PLACES = re.compile(r"\{(\w+)\}")
BODIES = st.one_of(
    json_values().map(encode), texts().map(str.encode), st.binary(max_size=20), st.just(b"")
)


class HttpRouteContract(Contract[HttpRoute]):
    """What holds of every route, whatever is sent to it."""

    def application(self) -> Application:
        """Return the application that requests come with; override it if the handler needs one
        with services or models.
        """
        return empty_application()

    def valid(self) -> HttpRequest | None:
        """Override it to return a request that succeeds: the suite then sees what comes back.
        `self.asked(route)` makes one to start from.
        """
        return None

    def asked(self, route: HttpRoute, **fields: Any) -> HttpRequest:
        """Make a request of the route as an admin."""
        path_params = dict.fromkeys(PLACES.findall(route.path), "x")
        told: dict[str, Any] = {
            "method": route.method,
            "path": PLACES.sub("x", route.path),
            "path_params": path_params,
            "principal": LOCAL,
            "application": self.application(),
            "request_id": "req_1",
        }
        return HttpRequest(**(told | fields))

    @law()
    async def test_can_be_mounted(self, route: HttpRoute) -> None:
        """A route has a known method, a path from the root, and an async handler."""
        assert isinstance(route, HttpRoute), f"{route!r} is no coe_core.HttpRoute"
        assert route.method in METHODS, f"method is {route.method!r}; there are {METHODS}"
        assert re.fullmatch(r"(/(\{\w+\}|[\w.~:-]+))+/?|/", route.path), (
            f"path is {route.path!r}; it begins with /, and {{name}} takes one whole segment"
        )
        places = PLACES.findall(route.path)
        assert len(set(places)) == len(places), f"path {route.path!r} has one name twice"
        assert inspect.iscoroutinefunction(route.handler), "write `async def` for the handler"

    @law()
    async def test_can_be_documented(self, route: HttpRoute) -> None:
        """A route has a summary, a known role or None, and its types are attrs classes."""
        assert route.summary.strip(), "summary is empty; /openapi.json shows it"
        assert route.role is None or route.role in RANK, (
            f"role is {route.role!r}; there are {', '.join(get_args(AccessRole))}, or None for all"
        )
        for kind in (route.request, route.response):
            assert kind is None or attrs.has(kind), (
                f"{kind!r} is no attrs class; /openapi.json is made from its fields"
            )

    @law(body=BODIES, query=st.dictionaries(names(), texts(), max_size=2), place=texts())
    async def test_answers_anything(
        self, route: HttpRoute, body: bytes, query: Mapping[str, str], place: str
    ) -> None:
        """Any body, query and path gets a response or one of our errors; nothing else is raised,
        so that no client sees a 500.
        """
        places = dict.fromkeys(PLACES.findall(route.path), place)
        request = self.asked(route, body=body, query=query, path_params=places)
        try:
            response = await route.handler(request)
        except CoeError:
            return
        except Exception as error:
            raise AssertionError(
                f"the handler raised {error!r} for the body {body!r}; read it with "
                "request.json(cls), and raise a CoeError whose class says the status"
            ) from error
        await check_response(response)

    @law()
    async def test_keeps_its_response_type(self, route: HttpRoute) -> None:
        """What a good request gets has the type that /openapi.json promises."""
        if (request := self.valid()) is None:
            return
        response = await route.handler(request)
        body = await check_response(response)
        assert response.status < 300, f"a good request got {response.status}: {body!r}"
        if route.response is not None and response.content_type == "application/json":
            try:
                structure(decode(body), route.response)
            except Exception as error:
                raise AssertionError(f"{body!r} is no {route.response.__name__}") from error

    @law(group=names(), steps=st.integers(0, 3))
    async def test_lets_itself_be_cancelled(self, route: HttpRoute, group: str, steps: int) -> None:
        """A client that goes away cancels the handler."""

        async def handle() -> None:
            try:
                await route.handler(self.asked(route, principal=principal))
            except CoeError:
                return

        principal = Principal(group=GroupName(group), role="admin")
        await survives_cancellation(handle(), steps)


async def check_response(response: HttpResponse) -> bytes:
    """See that a response is one, and return its whole body."""
    assert isinstance(response, HttpResponse), (
        f"the handler returned {response!r}; return json_response(...) or an HttpResponse"
    )
    assert 200 <= response.status < 600, f"status is {response.status}; raise errors as CoeError"
    if isinstance(response.body, bytes):
        return response.body
    assert isinstance(response.body, AsyncIterator), (
        f"body is {type(response.body).__name__}; make it bytes or an async iterator of bytes"
    )
    async with aclosing(cast("Any", response.body)) as pieces:
        return b"".join([piece async for piece in pieces])
