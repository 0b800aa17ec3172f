"""Postgres: a server that the workers of several machines share."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext, suppress
from functools import cache
from typing import Any

import sqlalchemy as sa
from attrs import define, field, frozen
from sqlalchemy.exc import DBAPIError

from coe_core.error import StartRefused
from coe_records.database import Clash, Connection
from coe_records.roles import protect
from coe_records.row import Row

try:
    import psycopg
    from psycopg import conninfo
    from psycopg.pq import TransactionStatus
except ImportError as error:
    raise StartRefused(
        f"records on Postgres need a driver: install coe-records[postgres] ({error})"
    ) from error

OLDEST = 140000
"""The oldest server, as it numbers itself: in 14 a session that is ended can be waited for."""

PATIENCE = {
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
}
"""How soon libpq gives a silent server up, unless the address says otherwise."""

LOCK_TIMEOUT = "30s"
RELEASE_S = 5.0
"""How long a server may take to see that a process was killed: it ends a commit first."""


@define
class PostgresConnection:
    """A `Connection`. When it breaks, the next transaction begins on a new one."""

    _server: PostgresServer
    _raw: psycopg.Connection[Any]
    _name: str
    _role: str
    _held: list[str] = field(factory=list, init=False)

    Error = psycopg.Error
    IntegrityError = psycopg.IntegrityError
    DatabaseError = psycopg.DatabaseError
    OperationalError = psycopg.OperationalError
    DataError = psycopg.DataError
    waits = True

    @property
    def in_transaction(self) -> bool:
        """Whether there is something to commit or to roll back."""
        return self._raw.info.transaction_status not in _AT_REST

    def execute(self, statement: str, values: Sequence[Any] = (), /) -> psycopg.Cursor[Any]:
        """Execute one statement."""
        return self._raw.execute(_spelled(statement), values)

    def insert(self, into: sa.Table, rows: Iterable[Row], *, clash: Clash = "refuse") -> None:
        """Insert rows, all by one statement: COPY knows no row-level security."""
        rows = list(rows)
        if clash == "replace":  # One statement replaces a row once.
            width = len(into.primary_key)
            rows = list({row[:width]: row for row in rows}.values())
        if rows:
            self._raw.execute(
                _insert(into, clash), [list(column) for column in zip(*rows, strict=True)]
            )

    def begin(self) -> None:
        """Begin a transaction to write in, on a new connection if the old one has broken."""
        with suppress(psycopg.OperationalError):
            self._raw.execute("BEGIN")
            return
        if not self._raw.closed:
            self._raw.execute("BEGIN")
        self._replace()
        self._raw.execute("BEGIN")

    def begin_at_once(self) -> bool:
        """Begin it: there is nobody to wait for."""
        self.begin()
        return True

    def put_off(self) -> None:
        """Do nothing: the server does such things by itself."""

    def tidy(self) -> None:
        """Do nothing, as nothing is put off."""

    def begin_reading(self) -> None:
        """Begin a transaction that goes on seeing what its first statement saw."""
        self._raw.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")

    def strict_texts(self) -> AbstractContextManager[None]:
        """Do nothing: Postgres lets no text in that is none."""
        return nullcontext()

    def hold(self, name: str) -> bool:
        """Take a lock for as long as this connection, and those that replace it, are open."""
        is_held = self._wait_for(name)
        if is_held and name not in self._held:
            self._held.append(name)
        return is_held

    def outlast(self, name: str) -> None:
        """Wait until the lock can be had: the server lets go of it when all else has ended."""
        if self._wait_for(name):
            self._lock("pg_advisory_unlock", name)

    def _wait_for(self, name: str) -> bool:
        until_s = time.monotonic() + RELEASE_S
        while not (is_held := self._lock("pg_try_advisory_lock", name)):
            if time.monotonic() > until_s:
                break
            time.sleep(0.02)
        return is_held

    def _lock(self, function: str, name: str) -> bool:
        query = f"SELECT {function}(hashtextextended(current_schema() || '/' || %s, 0))"
        ((done,),) = self._raw.execute(query, [name]).fetchall()
        return bool(done)

    def close(self) -> None:
        """Close it."""
        self._raw.close()

    def _replace(self) -> None:
        """Connect anew, once the server has let go of what our last session held: it may not have
        noticed that the connection is lost.
        """
        self._raw = self._server.session(self._name)
        self._raw.execute(  # As the user, before we have a role that may not.
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
            "WHERE application_name = %s AND pid <> pg_backend_pid()",
            [self._name],
        )
        become(self._raw, self._role)
        if not all(map(self.hold, self._held)):
            self._raw.close()
            raise psycopg.OperationalError("another process has become this writer meanwhile")


_AT_REST = {TransactionStatus.IDLE, TransactionStatus.UNKNOWN}


@cache
def _spelled(statement: str) -> str:
    """Spell a statement as Postgres and its driver have it."""
    return statement.replace("json_each(?)", "json_array_elements_text(%s)").replace("?", "%s")


_ARRAYS = {str: "text[]", int: "int8[]", bool: "bool[]", float: "float8[]", bytes: "bytea[]"}


@cache
def _insert(into: sa.Table, clash: Clash) -> str:
    names = into.columns.keys()
    arrays = ", ".join(f"%s::{_ARRAYS[column.type.python_type]}" for column in into.columns)
    statement = f"INSERT INTO {into.name} ({', '.join(names)}) SELECT * FROM unnest({arrays})"  # noqa: S608
    if clash == "refuse":
        return statement
    key = into.primary_key.columns.keys()
    rest = [f"{name} = excluded.{name}" for name in names if name not in key]
    action = f"UPDATE SET {', '.join(rest)}" if clash == "replace" else "NOTHING"
    return f"{statement} ON CONFLICT ({', '.join(key)}) DO {action}"


_BECOME = "SELECT set_config('role', current_database() || %s, false)"


def become(session: psycopg.Connection[Any], role: str) -> None:
    """Take a role of the database for as long as the session lasts."""
    session.execute(_BECOME, [f"_{role}"])


@frozen
class PostgresServer:
    """A `Database`."""

    _address: str = field(repr=False)
    keeps_lines = True

    @property
    def place(self) -> str:
        """Host and database."""
        return self._at(self._parameters())

    def connect(self, *, writable: bool = True, tolerant: bool = False) -> PostgresConnection:
        """Open a connection in the role of the writer, or of an operator, who only reads."""
        name, role = f"coe {secrets.token_hex(8)}", "writer" if writable else "operator"
        session = self.session(name)
        become(session, role)
        return PostgresConnection(self, session, name, role)

    async def connect_async(self) -> psycopg.AsyncConnection[Any]:
        """Open a session for the event loop, in the role of the writer."""
        told = {**PATIENCE, **self._parameters(), "application_name": "coe"}
        session = await psycopg.AsyncConnection.connect(**told, autocommit=True)
        try:
            await session.execute(_BECOME, ["_writer"])
        except BaseException:
            await session.close()
            raise
        return session

    def session(self, name: str = "coe") -> psycopg.Connection[Any]:
        """Open a session of the driver's own. Raises `StartRefused` for a server too old."""
        parameters = self._parameters()
        session = psycopg.connect(
            **{**PATIENCE, **parameters, "application_name": name}, autocommit=True
        )
        if session.info.server_version < OLDEST:
            session.close()
            raise StartRefused(
                f"the database {self._at(parameters)} is Postgres "
                f"{session.info.server_version // 10000}; 14 is the oldest that will do"
            )
        session.execute(f"SET lock_timeout = '{LOCK_TIMEOUT}'")
        return session

    def engine(self, *, writable: bool = False) -> sa.Engine:
        """Make an engine."""
        return sa.create_engine(
            "postgresql+psycopg://",
            creator=lambda: self._transactional(writable=writable),
            pool_size=4,
            max_overflow=28,
        )

    def _transactional(self, *, writable: bool) -> psycopg.Connection[Any]:
        session = self.session()
        session.autocommit = False
        if not writable:
            session.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            session.read_only = True
        return session

    def begin_reading(self, connection: sa.Connection, group: str | None) -> None:
        """Become, for a transaction, the reader of a group, or an operator."""
        connection.exec_driver_sql(
            "SELECT set_config('role', current_database() || %s, true),"
            " set_config('coe.group', %s, true)",
            ("_operator" if group is None else "_reader", group or ""),
        )

    def begin_writing(self, connection: sa.Connection) -> None:
        """Become, for a transaction, the writer."""
        connection.exec_driver_sql(
            "SELECT set_config('role', current_database() || '_writer', true)"
        )

    def version(self, version_table: str) -> str | None:
        """Tell which migration the tables are at."""
        with closing(self.session()) as session:
            ((found,),) = session.execute("SELECT to_regclass(%s)", [version_table]).fetchall()
            if found is None:
                return None
            query = f"SELECT version_num FROM {version_table}"  # noqa: S608
            row = session.execute(query).fetchone()
            return row[0] if row else None

    @contextmanager
    def upgrading(self) -> Iterator[sa.Connection]:
        """Open a transaction to change tables in, once nobody else does."""
        engine = self.engine(writable=True)
        try:
            with engine.begin() as connection:
                connection.exec_driver_sql(
                    "SELECT pg_advisory_xact_lock(hashtextextended('coe upgrade', 0))"
                )
                yield connection
                protect(connection)
        except DBAPIError as error:
            raise error.orig or error from error
        finally:
            engine.dispose()

    def damage(self, connection: Connection) -> Iterator[tuple[str, str]]:
        """Find nothing: Postgres minds its pages itself."""
        return iter(())

    def set_aside_unless_sound(self) -> str | None:
        """Leave the server alone."""
        return None

    def keep_copy(self, stamp: str) -> None:
        """Copy the tables into others beside them, and have the indexes made anew."""
        from coe_records.table import PROJECTIONS

        with closing(self.session()) as session:
            for each in PROJECTIONS:
                copy = f"{each.name}_{stamp.lower()}_damaged"
                session.execute(f"CREATE TABLE {copy} AS TABLE {each.name}")
                session.execute(f"REINDEX TABLE {each.name}")

    def _parameters(self) -> dict[str, Any]:
        try:
            return conninfo.conninfo_to_dict(self._address)
        except psycopg.ProgrammingError:
            # Neither chained nor quoted: the text may hold the password.
            raise StartRefused(
                "the address of the database cannot be read; write it as "
                "postgresql://USER:PASSWORD@HOST:PORT/DATABASE"
            ) from None

    @staticmethod
    def _at(parameters: dict[str, Any]) -> str:
        host = parameters.get("host") or "localhost"
        return f"{parameters.get('dbname') or parameters.get('user') or ''} on {host}"
