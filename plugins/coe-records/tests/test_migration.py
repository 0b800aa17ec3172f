import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from coe_records import table
from coe_records.folder import DataFolder
from coe_records.migration import migrate
from sqlalchemy import create_engine


def test_migrations_lead_to_the_tables_of_the_code(empty_database: Path) -> None:
    engine = create_engine(f"sqlite:///{empty_database}")
    with engine.connect() as connection:
        options = {"version_table": table.VERSION_TABLE, "compare_type": True}
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, table.metadata) == []
    engine.dispose()


def test_newest_migration_is_the_one_the_code_expects() -> None:
    config = Config()
    config.set_main_option("script_location", "coe_records:migrations")
    config.set_main_option("path_separator", "os")
    assert ScriptDirectory.from_config(config).get_current_head() == table.HEAD


def test_tables_of_others_are_left_alone(tmp_path: Path) -> None:
    """Each plugin has a version table of its own in the one database."""
    path = tmp_path / "coe.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE alembic_version (version_num TEXT)")
        connection.execute("INSERT INTO alembic_version VALUES ('of another plugin')")
    connection.close()
    tables = DataFolder(tmp_path).tables
    migrate(tables)
    migrate(tables)
    assert tables.version(table.VERSION_TABLE) == table.HEAD
    with closing(tables.connect()) as connection:
        others = connection.execute("SELECT * FROM alembic_version").fetchall()
    assert others == [("of another plugin",)]


def test_migration_that_breaks_off_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "coe.db"
    with sqlite3.connect(path) as connection:  # In the way of the last table to be made.
        connection.execute("CREATE TABLE segments (x)")
    connection.close()
    with pytest.raises(Exception, match="already exists"):
        migrate(DataFolder(tmp_path).tables)
    with sqlite3.connect(path) as connection:
        names = connection.execute("SELECT name FROM sqlite_master").fetchall()
    connection.close()
    assert names == [("segments",)]
