"""The plugin under the suites that every plugin passes."""

import pytest
from coe_server.command import serve_command
from coe_server.plugin import ServerPlugin
from coe_server.routes import ROUTES
from coe_server.settings import Settings

from coe_core.application import Application
from coe_core.http import HttpRequest, HttpRoute
from coe_core.testing import (
    CliCommandContract,
    HttpRouteContract,
    PluginContract,
    scripted_application,
)


def route(name: str) -> HttpRoute:
    return next(route for route in ROUTES if route.name == name)


class TestPlugin(PluginContract):
    name = "server"

    def make(self) -> type[ServerPlugin]:
        return ServerPlugin


class TestServe(CliCommandContract):
    def make(self) -> object:
        return serve_command(Settings())


class RouteContract(HttpRouteContract):
    route: HttpRoute
    succeeds = True

    def make(self) -> HttpRoute:
        return self.route

    def application(self) -> Application:
        return scripted_application()

    def valid(self) -> HttpRequest | None:
        return self.asked(self.route, path_params={"id": "auto"}) if self.succeeds else None


class TestChat(RouteContract):
    route = route("POST /v1/chat/completions")
    succeeds = False


class TestResponses(RouteContract):
    route = route("POST /v1/responses")
    succeeds = False


class TestResponse(RouteContract):
    route = route("GET /v1/responses/{id}")
    succeeds = False


class TestEmbeddings(RouteContract):
    route = route("POST /v1/embeddings")
    succeeds = False


class TestModels(RouteContract):
    route = route("GET /v1/models")


class TestModel(RouteContract):
    route = route("GET /v1/models/{id}")


class TestHealth(RouteContract):
    route = route("GET /healthz")


class TestReady(RouteContract):
    route = route("GET /readyz")


class TestDocument(RouteContract):
    route = route("GET /openapi.json")


@pytest.mark.parametrize("each", ROUTES, ids=lambda each: each.name)
def test_every_route_is_under_the_suite(each: HttpRoute) -> None:
    suites = RouteContract.__subclasses__()
    assert any(suite.route is each for suite in suites)
