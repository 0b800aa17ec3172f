"""The laws of databases."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, TypeAlias

from hypothesis import strategies as st

from coe_core.service import EVERY_GROUP, Database
from coe_core.testing.contracts.component import ServiceContract
from coe_core.testing.contracts.law import law

Row: TypeAlias = tuple[int, str]

GROUPS = ("research", "연구 팀", "o'neill\"; --")
ROWS = st.dictionaries(
    st.integers(-(2**63), 2**63 - 1), st.sampled_from((*GROUPS, EVERY_GROUP)), max_size=5
).map(lambda by_number: sorted(by_number.items()))


class DatabaseContract(ServiceContract[Database]):
    """What holds of every database. `make` returns one without tables."""

    contract = Database

    @law(rows=ROWS)
    async def test_commits_at_the_end(self, database: Database, rows: list[Row]) -> None:
        """What a transaction wrote is there for the next one, and what work returns is returned."""
        await _upgrade(database)
        written = await database.write(lambda connection: _insert(connection, rows))
        assert written == len(rows), f"work returned {len(rows)}, write {written!r}"
        found = await _rows(database)
        assert found == rows, f"a transaction that wrote {rows} and ended well left {found}"

    @law()
    async def test_rolls_back_after_an_error(self, database: Database) -> None:
        """A transaction that raised has written nothing, and the error comes out of it."""
        await _upgrade(database)

        def breaks_off(connection: Any) -> None:
            _insert(connection, [(1, "research")])
            raise LookupError("in the middle of it")

        try:
            await database.write(breaks_off)
        except LookupError:
            pass
        else:
            raise AssertionError("the transaction swallowed the error raised inside it")
        assert not await _rows(database), "a transaction that raised left its rows"

    @law(rows=ROWS, group=st.sampled_from((*GROUPS, "nobody")))
    async def test_shows_a_reader_its_group(
        self, database: Database, rows: list[Row], group: str
    ) -> None:
        """A reader of a group sees its rows and those of every group, also if it asks for more."""
        await _upgrade(database)
        await database.write(lambda connection: _insert(connection, rows))
        wanted = [row for row in rows if row[1] in (group, EVERY_GROUP)]
        for query in (_ALL, "SELECT number, group_name FROM kept AS k WHERE true ORDER BY number"):
            found = await _rows(database, group, query)
            assert found == wanted, f"of {rows} the group {group!r} saw {found} by {query}"
        assert await _rows(database) == rows, "a reader of every group sees all"

    @law()
    async def test_keeps_readers_from_writing(self, database: Database) -> None:
        """A transaction that reads cannot write, whoever it reads for."""
        await _upgrade(database)
        for group in (None, "research"):
            try:
                await database.read(group, lambda connection: _insert(connection, [(1, "x")]))
            except Exception:
                assert not await _rows(database), "a reader's rows are there"
                continue
            raise AssertionError(f"a reader of {group!r} wrote")

    @law()
    async def test_upgrades_once(self, database: Database) -> None:
        """An upgrade that is repeated, or runs several times at once, happens once."""
        await asyncio.gather(*(_upgrade(database) for _ in range(3)))
        await database.write(lambda connection: _insert(connection, [(1, "research")]))
        await _upgrade(database)
        assert await _rows(database) == [(1, "research")], "a second upgrade lost a row"


_ALL = "SELECT number, group_name FROM kept ORDER BY number"


async def _upgrade(database: Database) -> None:
    await database.upgrade("testing", "coe_core.testing:migrations", head="0001")


def _insert(connection: Any, rows: Iterable[Row]) -> int:
    return sum(
        connection.exec_driver_sql(
            f"INSERT INTO kept VALUES ({number}, '{group.replace(chr(39), chr(39) * 2)}')"  # noqa: S608 each driver spells parameters differently
        ).rowcount
        for number, group in rows
    )


async def _rows(database: Database, group: str | None = None, query: str = _ALL) -> list[Row]:
    def work(connection: Any) -> list[Row]:
        return [tuple(row) for row in connection.exec_driver_sql(query)]

    return await database.read(group, work)
