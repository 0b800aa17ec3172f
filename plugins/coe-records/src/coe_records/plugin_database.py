"""The SQL database that the deployment's plugins share, each with tables of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from attrs import define, field

from coe_core.error import Unavailable
from coe_core.outage import Outage
from coe_core.settings import Secret
from coe_records.database import Database, database_of, raised, reason

if TYPE_CHECKING:
    import sqlalchemy as sa

T = TypeVar("T")

FILE = "plugins.db"
"""Apart from the records' own tables: those are made of the log and may be made of it again, while
of these there is no other copy. They need a disk that syncs, and no journal that waits for them.
"""

THREADS = 4


@define(eq=False)
class PluginDatabase:
    """A `Database`: a SQLite file in the data folder, or the Postgres that has the records too.

    What does the work is loaded when it opens, SQLAlchemy above all.
    """

    _data_dir: Path
    _server: Secret | None = None
    name: str = "database"
    _tables: Database = field(init=False)
    _reading: sa.Engine = field(init=False)
    _writing: sa.Engine = field(init=False)
    _threads: ThreadPoolExecutor = field(init=False)
    _outage: Outage = field(init=False)

    @_outage.default
    def _(self) -> Outage:
        return Outage("the plugins' database failed", "the plugins' database works again")

    async def open(self) -> None:
        """Make ready; nothing is connected yet."""
        server = self._server.reveal() if self._server else None
        self._tables = database_of(self._data_dir / FILE, server, is_owned=True)
        self._reading = self._tables.engine()
        self._writing = self._tables.engine(writable=True)
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="coe-database")

    async def close(self) -> None:
        """Close the connections, after the work that is under way."""
        await asyncio.to_thread(self._threads.shutdown)
        self._reading.dispose()
        self._writing.dispose()

    async def upgrade(self, plugin: str, scripts: str, *, head: str) -> None:
        """Bring a plugin's tables up to date."""
        from coe_records.migration import upgrade

        await self._run(partial(upgrade, self._tables, scripts, f"{plugin}_version", head))

    async def read(self, group: str | None, work: Callable[[Any], T]) -> T:
        """Return what work returns of one group, or of all."""

        def reads() -> T:
            with self._reading.connect() as connection:
                self._tables.begin_reading(connection, group)
                return work(connection)

        return await self._run(reads)

    async def write(self, work: Callable[[Any], T]) -> T:
        """Return what work returns, once it is committed."""

        def writes() -> T:
            with self._writing.connect() as connection:
                self._tables.begin_writing(connection)
                returned = work(connection)
                connection.commit()
                return returned

        return await self._run(writes)

    async def _run(self, work: Callable[[], T]) -> T:
        from sqlalchemy.exc import InterfaceError, OperationalError

        loop = asyncio.get_running_loop()
        try:
            done = await loop.run_in_executor(self._threads, work)
        except (OperationalError, InterfaceError) as error:
            raise self._failed(error.orig) from error
        except raised() as error:
            raise self._failed(error) from error
        self._outage.passed()
        return done

    def _failed(self, error: BaseException | None) -> Unavailable:
        self._outage.met(error, database=self._tables.place)
        return Unavailable(f"the plugins' database failed: {reason(error)}", retry_after_s=5)
