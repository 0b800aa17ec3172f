"""Fixtures for plugins' tests, which pytest finds by itself once coe-core is installed.

They import what they need when a test asks for them: pytest loads this in every run.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from coe_core import Application, Turn
    from coe_core.testing import ManualClock

pytest.register_assert_rewrite("coe_core.testing.contracts")


@pytest.fixture
def make_turn() -> Callable[..., Turn]:
    """Return `coe_core.testing.make_turn`: `make_turn("Hello")` is a turn in which a user says
    it.
    """
    from coe_core.testing import turn

    return turn.make_turn


@pytest.fixture
def turn(make_turn: Callable[..., Turn]) -> Turn:
    """Return a turn in which a user says hello."""
    return make_turn()


@pytest.fixture
def clock() -> ManualClock:
    """Return a clock that stands still until it is advanced."""
    from coe_core.testing import ManualClock

    return ManualClock()


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """Return the address of a Postgres, whose user may do everything, to make schemas in with
    `coe_core.testing.postgres.new_schema`; skips where there is none.
    """
    from coe_core.testing.postgres import NoPostgres, server

    with ExitStack() as stack:
        try:
            url = stack.enter_context(server())
        except NoPostgres as reason:
            pytest.skip(str(reason))
        yield url


@pytest.fixture
def application(
    tmp_path: Path,
) -> Callable[..., AbstractAsyncContextManager[Application]]:
    """Return what composes and opens an application of the plugins given, and of no other that
    is installed: `async with application(keyword=KeywordPlugin, settings="...") as app`.
    """
    from coe_core.testing import deployment

    @asynccontextmanager
    async def composed(settings: str = "", **plugins: type[Any]) -> AsyncIterator[Application]:
        async with deployment(settings, plugins=plugins, data_dir=tmp_path) as host:
            yield host.application

    return composed
