"""The store, the plugin, the command and the routes, each under its suite."""

from collections.abc import AsyncIterator
from pathlib import Path

import click
import pytest
from coe_knowledge.command import knowledge_command
from coe_knowledge.library import Library
from coe_knowledge.plugin import KnowledgePlugin
from coe_knowledge.route import routes
from coe_knowledge.settings import Settings

from coe_core import Clock, Journal, KnowledgeStore
from coe_core.http import HttpRoute
from coe_core.testing import (
    CliCommandContract,
    HttpRouteContract,
    KnowledgeStoreContract,
    MemoryKnowledgeStore,
    PluginContract,
    scripted_application,
)
from coe_core.testing.postgres import new_schema

from .conftest import Open, records


class TestStore(KnowledgeStoreContract):
    examples = 4

    @pytest.fixture(autouse=True)
    def folder(self, opened: Open) -> None:
        self.opened = opened

    async def make(self) -> AsyncIterator[KnowledgeStore]:
        async with self.opened() as application:
            yield application.need(KnowledgeStore)


@pytest.mark.faults
class TestStoreOnPostgres(KnowledgeStoreContract):
    examples = 4

    @pytest.fixture(autouse=True)
    def server(self, opened: Open, postgres_url: str, tmp_path: Path) -> None:
        self.opened, self.url, self.address = opened, postgres_url, tmp_path / "address"

    async def make(self) -> AsyncIterator[KnowledgeStore]:
        self.address.write_text(new_schema(self.url))
        settings = f'[plugins.records]\ndatabase = "file:{self.address}"'
        async with self.opened(settings) as application:
            yield application.need(KnowledgeStore)


class TestPlugin(PluginContract):
    name = "knowledge"
    others = {"records": records()}

    def make(self) -> type[KnowledgePlugin]:
        return KnowledgePlugin


class TestCommand(CliCommandContract):
    def make(self) -> click.Command:
        return knowledge_command(Settings())


def desk() -> dict[str, HttpRoute]:
    need = scripted_application().need
    library = Library(MemoryKnowledgeStore(), need(Journal), need(Clock), Settings())
    return {route.name: route for route in routes(library)}


class TestRoute(HttpRouteContract):
    examples = 8

    @pytest.fixture(autouse=True, params=desk())
    def route(self, request: pytest.FixtureRequest) -> None:
        self.name = request.param

    def make(self) -> HttpRoute:
        return desk()[self.name]
