"""Roles on Postgres: whoever works on the tables does not own them, and readers see one group.

The three roles are named for their database, `DATABASE_writer`, `DATABASE_reader` and
`DATABASE_operator`. The user in the address owns the tables, migrates them, and becomes one of the
three for all else. A table with a column `group_name` has row-level security: its reader sees the
rows of the group that the setting `coe.group` names, which each transaction sets, and those of
`EVERY_GROUP`.
"""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import sqlalchemy as sa

from coe_core.error import StartRefused

ROLES = ("writer", "reader", "operator")

_POLICIES = {
    "writer": "FOR ALL TO {role} USING (true) WITH CHECK (true)",
    "operator": "FOR SELECT TO {role} USING (true)",
    "reader": "FOR SELECT TO {role} USING (group_name IN ('', current_setting('coe.group', true)))",
}

_TABLES = """
    SELECT c.relname, c.relrowsecurity, a.attname IS NOT NULL
    FROM pg_class c
    LEFT JOIN pg_attribute a
        ON a.attrelid = c.oid AND a.attname = 'group_name' AND NOT a.attisdropped
    WHERE c.relkind = 'r' AND c.relnamespace = current_schema()::regnamespace
        AND pg_has_role(c.relowner, 'USAGE')
"""


def statements(database: str, user: str) -> Iterator[str]:
    """Yield what whoever may make roles has to run, once for a database."""
    roles = [_quoted(f"{database}_{role}") for role in ROLES]
    for role in roles:
        yield f"CREATE ROLE {role} NOLOGIN"
    yield f"GRANT {', '.join(roles)} TO {_quoted(user)}"


def protect(connection: sa.Connection) -> None:
    """Make the roles unless they are there, and grant them what they may do with each table of the
    schema that is ours. Raises `StartRefused` with what to run where we may not make roles.
    """
    run = connection.exec_driver_sql
    database, user, schema = run("SELECT current_database(), current_user, current_schema()").one()
    try:
        _make_roles(connection, database, user)
    except sa.exc.ProgrammingError as error:
        if not isinstance(error.orig, psycopg.errors.InsufficientPrivilege):
            raise
        needed = "; ".join(statements(database, user))
        raise StartRefused(
            f"the user {user} may not make the roles that the database {database} needs; "
            f"have an administrator run, once: {needed}"
        ) from error
    roles = {role: _quoted(f"{database}_{role}") for role in ROLES}
    run(f"GRANT USAGE ON SCHEMA {_quoted(schema)} TO {', '.join(roles.values())}")
    for name, is_secured, has_group in run(_TABLES).all():
        _grant(connection, _quoted(name), roles, has_group=has_group)
        if has_group and not is_secured:
            _secure(connection, _quoted(name), roles)


def _make_roles(connection: sa.Connection, database: str, user: str) -> None:
    known = "SELECT rolname, pg_has_role(rolname, 'MEMBER') FROM pg_roles WHERE rolname = ANY(%s)"
    names = [f"{database}_{role}" for role in ROLES]
    member: dict[str, bool] = dict(connection.exec_driver_sql(known, (names,)).all())
    for name in names:
        if name not in member:
            connection.exec_driver_sql(f"CREATE ROLE {_quoted(name)} NOLOGIN")
        if not member.get(name):
            connection.exec_driver_sql(f"GRANT {_quoted(name)} TO {_quoted(user)}")


def _grant(
    connection: sa.Connection, table: str, roles: dict[str, str], *, has_group: bool
) -> None:
    run = connection.exec_driver_sql
    run(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO {roles['writer']}")
    run(f"GRANT SELECT ON {table} TO {roles['operator']}")
    if has_group:
        run(f"GRANT SELECT ON {table} TO {roles['reader']}")


def _secure(connection: sa.Connection, table: str, roles: dict[str, str]) -> None:
    run = connection.exec_driver_sql
    run(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
    for role, policy in _POLICIES.items():
        run(f"CREATE POLICY coe_{role} ON {table} {policy.format(role=roles[role])}")


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
