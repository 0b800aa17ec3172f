"""What the plugins' database promises beyond the contract, whose laws are in `test_contract`."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from attrs import define
from coe_records.folder import DataFolder
from coe_records.plugin import RecordsPlugin
from coe_records.plugin_database import PluginDatabase

from coe_core import Database, KnowledgeStore, Service, hookimpl
from coe_core.error import StartRefused, Unavailable
from coe_core.settings import Secret
from coe_core.testing import MemoryKnowledgeStore, deployment

on_sqlite = pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
on_postgres = pytest.mark.parametrize("database_kind", ["postgres"], indirect=True)

SCRIPTS = "coe_core.testing:migrations"


@pytest.fixture
async def database(
    folder: DataFolder, secret: Callable[[DataFolder], Secret | None]
) -> AsyncIterator[PluginDatabase]:
    database = PluginDatabase(folder.path, secret(folder))
    await database.open()
    await database.upgrade("testing", SCRIPTS, head="0001")
    yield database
    await database.close()


async def execute(database: Database, statement: str) -> None:
    await database.write(lambda connection: connection.exec_driver_sql(statement))


async def select(database: Database, group: str | None, query: str) -> list[Any]:
    return await database.read(
        group, lambda connection: list(connection.exec_driver_sql(query).scalars())
    )


async def test_tables_of_a_newer_version_are_refused(database: Database) -> None:
    await execute(database, "UPDATE testing_version SET version_num = '0002'")
    with pytest.raises(StartRefused, match="testing_version says 0002, which is not among"):
        await database.upgrade("testing", SCRIPTS, head="0001")


async def test_clash_comes_out_as_what_it_is(database: Database) -> None:
    await execute(database, "INSERT INTO kept VALUES (1, 'law')")
    with pytest.raises(sa.exc.IntegrityError):
        await execute(database, "INSERT INTO kept VALUES (1, 'ops')")


@on_sqlite
async def test_table_that_came_later_is_confined_too(database: Database) -> None:
    assert await select(database, "law", "SELECT group_name FROM kept") == []
    await execute(database, 'CREATE TABLE "more ""or"" less" (group_name TEXT)')
    await execute(database, """INSERT INTO "more ""or"" less" VALUES ('law'), ('ops')""")
    query = 'SELECT group_name FROM "more ""or"" less"'
    assert await select(database, "law", query) == ["law"]
    assert await select(database, None, query) == ["law", "ops"]
    assert await select(database, "ops", query) == ["ops"]


@on_sqlite
async def test_what_is_committed_is_synced(database: Database) -> None:
    pragma = "PRAGMA synchronous"
    found = await database.write(lambda connection: connection.exec_driver_sql(pragma).scalar())
    assert found == 2


@on_postgres
async def test_nobody_owns_the_tables_in_use(database: Database) -> None:
    for statement in ("DROP TABLE kept", "ALTER TABLE kept DISABLE ROW LEVEL SECURITY"):
        with pytest.raises(sa.exc.ProgrammingError, match="must be owner"):
            await execute(database, statement)


@on_postgres
async def test_table_without_groups_is_not_for_a_reader_of_one(database: Database) -> None:
    query = "SELECT version_num FROM testing_version"
    assert await select(database, None, query) == ["0001"]
    with pytest.raises(sa.exc.ProgrammingError, match="permission denied"):
        await select(database, "law", query)


@pytest.mark.parametrize("server", [None, "postgresql://nobody@127.0.0.1:1/none"])
async def test_database_that_is_away_is_unavailable(tmp_path: Path, server: str | None) -> None:
    (address := tmp_path / "address").write_text(server or "")
    database = PluginDatabase(tmp_path / "gone", Secret(f"file:{address}") if server else None)
    await database.open()
    for work in (
        database.read("law", lambda connection: None),
        database.write(lambda connection: None),
        database.upgrade("testing", SCRIPTS, head="0001"),
    ):
        with pytest.raises(Unavailable, match="^the plugins' database failed: ") as refused:
            await work
        assert str(tmp_path) not in refused.value.message, "clients read it"
        assert "127.0.0.1" not in refused.value.message
    await database.close()


async def test_another_plugin_has_it_when_it_opens() -> None:
    """Though plugins are opened by name."""

    @define(eq=False)
    class Cards(MemoryKnowledgeStore):
        database: Database = None  # type: ignore[assignment]

        async def open(self) -> None:
            await self.database.upgrade("cards", SCRIPTS, head="0001")

    class CardsPlugin:
        @hookimpl
        def coe_services(self, ctx: Any) -> list[Service]:
            cards = Cards(database=ctx.need(Database))
            return [Service(contract=KnowledgeStore, provider=cards)]

    async with deployment(plugins={"cards": CardsPlugin, "records": RecordsPlugin}) as host:
        assert "cards" not in {problem.plugin for problem in host.application.problems}
        database = host.application.need(Database)
        assert await select(database, None, "SELECT version_num FROM cards_version") == ["0001"]
