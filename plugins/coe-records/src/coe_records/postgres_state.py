"""The state store on Postgres, which the workers of several machines share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from socket import gethostname
from typing import TYPE_CHECKING, Any, TypeAlias

from attrs import define, field
from loguru import logger

from coe_core.codec import decode, encode
from coe_core.error import Conflict, Unavailable
from coe_core.message import Json
from coe_core.outage import Outage
from coe_core.service import Versioned
from coe_core.settings import Secret
from coe_core.state import ABSENT, SqliteStateStore
from coe_records.database import raised, reason

if TYPE_CHECKING:
    import psycopg

    from coe_records.postgres import PostgresServer

Rows: TypeAlias = list[tuple[Any, ...]]

CHANNEL = "coe_state"
"""On which the server tells of each change, once it is committed."""

TOLD_CHARACTERS = 1000
"""How much of a key it tells: it would take 8000 bytes."""

RETRY_S = 1.0

_GET = "SELECT version, value FROM state WHERE key = %s"
_LIST = "SELECT key, version, value FROM state WHERE starts_with(key, %s) ORDER BY key"


def _told(change: str) -> str:
    """Make one statement of a change and its notice, so that no process that stands still between
    two holds others up.
    """
    notice = f"pg_notify('{CHANNEL}', left(key, {TOLD_CHARACTERS}))"
    changed = f"{change} RETURNING key, version"
    return f"WITH changed AS ({changed}) SELECT version, {notice} FROM changed"  # noqa: S608


# The versions are of one sequence, which gives none out twice; that of a row which is there is
# drawn once the row is locked, so that it grows.
_INSERT = "INSERT INTO state (key, value) VALUES (%s, %s) ON CONFLICT (key) DO "
_ADD = _told(_INSERT + "NOTHING")
_SET = _told(_INSERT + "UPDATE SET value = excluded.value, version = DEFAULT")
_REPLACE = _told("UPDATE state SET value = %s, version = DEFAULT WHERE key = %s AND version = %s")
_REMOVE = _told("DELETE FROM state WHERE key = %s")
_REMOVE_VERSION = _told("DELETE FROM state WHERE key = %s AND version = %s")


@define(eq=False)
class PostgresStateStore:
    """A `StateStore` in a table of the records' database. Usable between `open` and `close`.

    One connection reads and writes, another listens.
    """

    _file: Path
    """The engine's own state store, whose values are taken over by a table that never had any."""
    _server: Secret
    name: str = "state"
    _tables: PostgresServer = field(init=False)
    _connection: psycopg.AsyncConnection[Any] | None = field(default=None, init=False)
    _connecting: asyncio.Lock = field(factory=asyncio.Lock, init=False)
    _listening: asyncio.Task[None] | None = field(default=None, init=False)
    _watchers: dict[asyncio.Event, str] = field(factory=dict, init=False)
    """What wakes who watches, with the prefix."""
    _outage: Outage = field(init=False)

    @_outage.default
    def _(self) -> Outage:
        return Outage("the state store failed", "the state store works again")

    async def open(self) -> None:
        """Make the table, and fill it with what was decided before there was one."""
        from coe_records.postgres import PostgresServer

        self._tables = PostgresServer(self._server.reveal())
        await asyncio.to_thread(self._prepare)
        self._connection = await self._tables.connect_async()
        self._listening = asyncio.create_task(self._listen())

    async def close(self) -> None:
        """Close the connections; watchers end."""
        listening, self._listening = self._listening, None
        if listening is not None:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
        self._wake("")
        if self._connection is not None:
            await self._connection.close()

    def peek(self, prefix: str) -> dict[str, Json]:
        """Read values without opening, or making, anything."""
        from coe_records.postgres import PostgresServer

        try:
            with closing(PostgresServer(self._server.reveal()).session()) as session:
                if session.execute("SELECT to_regclass('state')").fetchone() == (None,):
                    return {}
                return {key: decode(text) for key, _, text in session.execute(_LIST, [prefix])}
        except raised() as error:
            raise self._failed(error) from error

    async def get(self, key: str) -> Versioned:
        """Read one value."""
        rows = await self._read(_GET, [key])
        return Versioned(version=rows[0][0], value=decode(rows[0][1])) if rows else ABSENT

    async def list(self, prefix: str) -> Mapping[str, Versioned]:
        """Read all values whose key begins with `prefix`, by key."""
        rows = await self._read(_LIST, [prefix])
        return {key: Versioned(version=version, value=decode(text)) for key, version, text in rows}

    async def put(self, key: str, value: Json, *, expect: int | None = None) -> Versioned:
        """Write a value, or remove the key. Raises `Conflict` unless `expect` is the version."""
        statement, values = _change(key, value, expect)
        rows = await self._run(statement, values)
        is_refused = not rows and expect is not None
        if is_refused and (value is not None or (await self.get(key)).version != expect):
            raise Conflict(f"{key} was changed by somebody else meanwhile")
        return ABSENT if value is None else Versioned(version=rows[0][0], value=value)

    async def watch(self, prefix: str) -> AsyncIterator[Mapping[str, Versioned]]:
        """Yield the values now, and after each change; ends when the store is closed."""
        values = None
        changed = asyncio.Event()
        self._watchers[changed] = prefix
        try:
            while self._listening is not None:
                changed.clear()
                known = values
                try:
                    values = await self.list(prefix)
                except Unavailable:
                    await asyncio.sleep(RETRY_S)
                    continue
                if values != known:
                    yield values
                await changed.wait()
        finally:
            del self._watchers[changed]

    async def _listen(self) -> None:
        """Wake who watches at each change, and whenever one may have been missed."""
        while True:
            try:
                async with await self._tables.connect_async() as connection:
                    await connection.execute(f"LISTEN {CHANNEL}")
                    self._wake("")
                    async for notice in connection.notifies():
                        self._wake(notice.payload)
            except raised() as error:
                logger.bind(error=str(error)).warning("changes of the state are not heard of")
            await asyncio.sleep(RETRY_S)

    def _wake(self, key: str) -> None:
        """Let those look who watch a key, or with "" all."""
        for watcher, prefix in self._watchers.items():
            if not key or key.startswith(prefix[:TOLD_CHARACTERS]):
                watcher.set()

    async def _read(self, query: str, values: Sequence[Any]) -> Rows:
        try:
            return await self._run(query, values)
        except Unavailable:  # The connection may have been the only thing that was broken.
            return await self._run(query, values)

    async def _run(self, statement: str, values: Sequence[Any]) -> Rows:
        try:
            connection = await self._connected()
            rows = await (await connection.execute(statement, values)).fetchall()
        except raised() as error:
            raise self._failed(error) from error
        self._outage.passed()
        return rows

    def _failed(self, error: BaseException) -> Unavailable:
        self._outage.met(error)
        return Unavailable(f"the state store on Postgres failed: {reason(error)}", retry_after_s=5)

    async def _connected(self) -> psycopg.AsyncConnection[Any]:
        async with self._connecting:
            if self._connection is None or self._listening is None:
                raise Unavailable("the state store is not open")
            if self._connection.closed:
                self._connection = await self._tables.connect_async()
            return self._connection

    def _prepare(self) -> None:
        from coe_records.migration import migrate

        migrate(self._tables)
        own = SqliteStateStore(self._file).peek("")
        with closing(self._tables.session()) as session, session.transaction():
            session.execute("LOCK TABLE state_origin IN EXCLUSIVE MODE")
            if session.execute("SELECT 1 FROM state_origin").fetchone() is None:
                session.execute("INSERT INTO state_origin VALUES (%s)", [gethostname()])
                for key, value in own.items():
                    session.execute(_SET, [key, encode(value).decode()])


def _change(key: str, value: Json, expect: int | None) -> tuple[str, Sequence[Any]]:
    if value is None:
        return (_REMOVE, [key]) if expect is None else (_REMOVE_VERSION, [key, expect])
    text = encode(value).decode()
    if not expect:
        return (_SET if expect is None else _ADD), [key, text]
    return _REPLACE, [text, key, expect]
