"""The laws of databases."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from hypothesis import strategies as st

from coe_core.service import Database
from coe_core.testing.contracts.component import ServiceContract
from coe_core.testing.contracts.law import law


class DatabaseContract(ServiceContract[Database]):
    """What holds of every database. `make` returns one in which a table may be made.

    A connection has SQLAlchemy's `exec_driver_sql`.
    """

    contract = Database

    @law()
    async def test_shows_no_password(self, database: Database) -> None:
        """The address can be printed."""
        address = urlsplit(database.url)
        assert address.scheme, f"url is {database.url!r}, which is no SQLAlchemy address"
        assert not (address.password or "").strip("*"), "url holds the password"

    @law(number=st.integers(-(2**31), 2**31 - 1))
    async def test_commits_at_the_end(self, database: Database, number: int) -> None:
        """What a transaction wrote is there for the next one."""
        await _make_table(database)
        async with database.connect() as connection:
            await connection.exec_driver_sql(f"INSERT INTO kept VALUES ({number})")  # noqa: S608 an int
        assert await _rows(database) == [number], "a transaction that ended well left nothing"

    @law()
    async def test_rolls_back_after_an_error(self, database: Database) -> None:
        """A transaction that raised has written nothing, and the error comes out of it."""
        await _make_table(database)
        try:
            async with database.connect() as connection:
                await connection.exec_driver_sql("INSERT INTO kept VALUES (1)")
                raise LookupError("in the middle of it")
        except LookupError:
            pass
        else:
            raise AssertionError("the transaction swallowed the error raised inside it")
        assert not await _rows(database), "a transaction that raised left its rows"

    @law()
    async def test_opens_for_a_group(self, database: Database) -> None:
        """A transaction for one group works like any other."""
        async with database.connect("research") as connection:
            result = await connection.exec_driver_sql("SELECT 1")
            assert result.scalar() == 1


async def _make_table(database: Database) -> None:
    async with database.connect() as connection:
        await connection.exec_driver_sql("DROP TABLE IF EXISTS kept")
        await connection.exec_driver_sql("CREATE TABLE kept (number INTEGER)")


async def _rows(database: Database) -> list[Any]:
    async with database.connect() as connection:
        result = await connection.exec_driver_sql("SELECT number FROM kept")
        return [row[0] for row in result.fetchall()]
