"""The tables that a Postgres has for a data folder: kept, put back, and made away with."""

from collections.abc import Mapping
from typing import TypeAlias

import psycopg
from coe_records.migration import migrate
from coe_records.postgres import PostgresServer
from psycopg.sql import SQL, Identifier

Kept: TypeAlias = Mapping[str, str]
"""Table to its rows, as COPY writes them; no table where none is made yet."""

OURS = "SELECT tablename FROM pg_tables WHERE schemaname = current_schema() ORDER BY 1"


def keep(session: psycopg.Connection) -> Kept:
    """Copy every table as it is at one moment. No transaction is under way on the session."""
    kept = {}
    with session.transaction():
        session.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        for (name,) in session.execute(OURS).fetchall():
            with session.cursor().copy(SQL("COPY {} TO STDOUT").format(Identifier(name))) as rows:
                kept[name] = b"".join(rows).decode()
    return kept


def kept_by(address: str | None) -> Kept:
    """Copy every table of a server, if there is one."""
    if address is None:
        return {}
    with psycopg.connect(address, autocommit=True) as session:
        return keep(session)


def put_back(address: str, kept: Kept) -> None:
    """Make the tables what they were, and no others."""
    if not kept:
        make_away(address)
        return
    with psycopg.connect(address) as session:
        there = {name for (name,) in session.execute(OURS)}
        for name in there - kept.keys():
            session.execute(SQL("DROP TABLE {}").format(Identifier(name)))
    if not kept.keys() <= there:
        migrate(PostgresServer(address))
    with psycopg.connect(address) as session:
        names = SQL(", ").join(map(Identifier, kept))
        session.execute(SQL("TRUNCATE {}").format(names))
        for name, rows in kept.items():
            with session.cursor().copy(SQL("COPY {} FROM STDIN").format(Identifier(name))) as copy:
                copy.write(rows)


def make_away(address: str) -> None:
    """Empty the schema that an address names."""
    with psycopg.connect(address) as session:
        ((schema,),) = session.execute("SELECT current_schema()").fetchall()
        session.execute(SQL("DROP SCHEMA {} CASCADE").format(Identifier(schema)))
        session.execute(SQL("CREATE SCHEMA {}").format(Identifier(schema)))
