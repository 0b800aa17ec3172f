"""Migrations: bring the tables of one plugin up to date, under a version table of its own."""

from __future__ import annotations

from coe_core.error import StartRefused
from coe_records import table
from coe_records.database import Database

OURS = "coe_records:migrations"


def migrate(database: Database) -> None:
    """Bring the records' own tables up to date."""
    upgrade(database, OURS, table.VERSION_TABLE, table.HEAD)


def upgrade(database: Database, scripts: str, version_table: str, head: str) -> None:
    """Run the migrations in a folder, `package:folder`, that have not been run, in one transaction,
    up to `head`, the newest. Raises `StartRefused` where the tables are newer.

    Each plugin has a version table of its own: in one that several share, the revisions of a plugin
    that is no longer installed would stop all others.
    """
    if (version := database.version(version_table)) == head:
        return
    # Loaded here, for it takes a fifth of a second that most starts have no use for.
    from alembic.config import Config
    from alembic.operations import Operations
    from alembic.runtime.migration import MigrationContext
    from alembic.script import ScriptDirectory
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", scripts)
    config.set_main_option("path_separator", "os")
    script = ScriptDirectory.from_config(config)
    with database.upgrading() as connection:
        context = MigrationContext.configure(
            connection,
            opts={
                "version_table": version_table,
                "transactional_ddl": True,
                "fn": lambda at, _: script._upgrade_revs("head", at),  # noqa: SLF001 as its own command
            },
        )
        try:
            with Operations.context(context):
                context.run_migrations()
        except CommandError as error:
            raise StartRefused(
                f"{version_table} says {version}, which is not among the versions up to {head} "
                f"that are known here: install what made the tables, or something newer ({error})"
            ) from error
