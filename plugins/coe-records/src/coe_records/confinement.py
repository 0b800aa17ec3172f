"""Readers of one group on SQLite, which has no row-level security.

Over each table with a column `group_name` lies a view of the same name that has the group's rows
alone. It is in the connection's own schema, `temp`, where SQLite looks for a name first.
"""

from __future__ import annotations

import sqlalchemy as sa

from coe_core.service import EVERY_GROUP

_LAID = "coe_records: version of the schema that views lie over"

_TABLES = """
    SELECT name FROM main.sqlite_master AS made
    WHERE type = 'table'
        AND EXISTS (SELECT 1 FROM pragma_table_info(made.name) WHERE name = 'group_name')
"""


def begin(connection: sa.Connection, group: str | None) -> None:
    """Begin a transaction to read the rows of a group in, or with None of all."""
    run = connection.exec_driver_sql
    while True:
        run("BEGIN")
        # Asked in the transaction: no table can come meanwhile that has no view.
        version = None if group is None else run("PRAGMA main.schema_version").scalar()
        if connection.info.get(_LAID) == version:
            break
        run("ROLLBACK")
        _lay(connection, version)
    if group is not None:
        run("UPDATE temp.coe_reader SET group_name = ?", (group,))


def _lay(connection: sa.Connection, version: int | None) -> None:
    """Lay the views anew, or with None take them away."""
    run = connection.exec_driver_sql
    for (view,) in run("SELECT name FROM temp.sqlite_master WHERE type = 'view'").all():
        run(f"DROP VIEW temp.{_quoted(view)}")
    run("DROP TABLE IF EXISTS temp.coe_reader")
    if version is not None:
        run("CREATE TEMP TABLE coe_reader (group_name TEXT)")
        run("INSERT INTO temp.coe_reader VALUES (NULL)")
        for (table,) in run(_TABLES).all():
            run(
                f"CREATE TEMP VIEW {_quoted(table)} AS SELECT * FROM main.{_quoted(table)} "  # noqa: S608
                f"WHERE group_name IN ('{EVERY_GROUP}', (SELECT group_name FROM temp.coe_reader))"
            )
    connection.info[_LAID] = version


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
