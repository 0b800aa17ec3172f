"""Books to test with."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from coe_kpi.book import Book
from coe_kpi.gauge import Gauges

from coe_core.testing.clock import ManualClock

OpenBook = Callable[..., Any]


@pytest.fixture(scope="session")
def open_book() -> OpenBook:
    """Open a book over what a reader has."""

    @asynccontextmanager
    async def open_(reader: Any, clock: Any = None, budgets: Any = None) -> AsyncIterator[Book]:
        with TemporaryDirectory() as folder:
            clock = clock or ManualClock()
            book = Book(Path(folder), reader, clock, 5.0, Gauges(budgets or {}))
            await book.open()
            yield book
            await book.close()

    return open_
