"""A deployment with the store of knowledge, and the installed plugin whose database it needs."""

import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib.metadata import entry_points
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from coe_knowledge.library import Library
from coe_knowledge.plugin import KnowledgePlugin
from coe_knowledge.settings import Settings

from coe_core import Application, Clock, Journal, KnowledgeStore
from coe_core.testing import deployment

Open = Callable[..., AbstractAsyncContextManager[Application]]


def records() -> type[Any]:
    (point,) = entry_points(group="coe.plugins", name="records")
    plugin: type[Any] = point.load()
    return plugin


def library_of(application: Application, **settings: Any) -> Library:
    need = application.need
    return Library(need(KnowledgeStore), need(Journal), need(Clock), Settings(**settings))


@pytest.fixture(scope="session")
def memory() -> Iterator[Path]:
    """A folder in memory where the system has such: a sync is only a delay here."""
    shared = Path("/dev/shm")
    with TemporaryDirectory(dir=shared if os.access(shared, os.W_OK) else None) as name:
        yield Path(name)


@pytest.fixture
def opened(memory: Path) -> Open:
    """Return what opens a deployment that keeps knowledge, and other plugins beside."""

    @asynccontextmanager
    async def opening(settings: str = "", **plugins: Any) -> AsyncIterator[Application]:
        with TemporaryDirectory(dir=memory) as folder:
            every = {"knowledge": KnowledgePlugin, "records": records(), **plugins}
            async with deployment(settings, plugins=every, data_dir=Path(folder)) as host:
                problems = [p for p in host.application.problems if p.plugin in every]
                assert not problems, problems
                yield host.application

    return opening


@pytest.fixture
async def application(opened: Open) -> AsyncIterator[Application]:
    async with opened() as application:
        yield application


@pytest.fixture
def library(application: Application) -> Library:
    return library_of(application)
