"""Who may do what on Postgres, with whatever SQL."""

from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import psycopg
import pytest
from coe_records import table
from coe_records.folder import DataFolder
from coe_records.migration import migrate
from coe_records.writer import Draft, Writer

from coe_core.error import StartRefused
from coe_core.record import Interaction

pytestmark = pytest.mark.parametrize("database_kind", ["postgres"], indirect=True)


@pytest.fixture
def written(
    folder: DataFolder, open_writer: Callable[..., Writer], make_turn: Callable[..., Interaction]
) -> DataFolder:
    """Record a turn of each of two groups."""
    with closing(open_writer(folder)) as writer:
        writer.commit([Draft.of(make_turn(n, group=g)) for n, g in enumerate(["law", "ops"])])
    return folder


@pytest.fixture
def become(written: DataFolder) -> Iterator[Callable[..., psycopg.Connection[Any]]]:
    """Connect as the service does, and become a role; whoever has the connection may go on."""
    assert written.server is not None
    with psycopg.connect(written.server, autocommit=True) as connection:

        def become_(role: str, group: str = "") -> psycopg.Connection[Any]:
            connection.execute(
                "SELECT set_config('role', current_database() || %s, false),"
                " set_config('coe.group', %s, false)",
                [f"_{role}", group],
            )
            return connection

        yield become_


GROUPS = [each.name for each in (*table.PROJECTIONS, table.lines) if "group_name" in each.columns]


@pytest.mark.parametrize("name", GROUPS)
def test_reader_sees_its_group_alone(become: Callable[..., Any], name: str) -> None:
    every = {row[0] for row in become("operator").execute(f"SELECT group_name FROM {name}")}
    seen = become("reader", "law").execute(f"SELECT group_name FROM {name}").fetchall()
    assert {row[0] for row in seen} == every & {"law"}
    if name in ("interactions", "chat_messages", "attempts", "lines"):
        assert every == {"law", "ops"}


@pytest.mark.parametrize("name", GROUPS)
def test_reader_without_a_group_sees_nothing(become: Callable[..., Any], name: str) -> None:
    assert become("reader").execute(f"SELECT * FROM {name}").fetchall() == []


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT content FROM chat_messages WHERE group_name = 'ops'",
        "SELECT content FROM chat_messages WHERE true OR group_name = 'law' AND 1/length(role) > 0",
        "SELECT m.content FROM chat_messages m, interactions i WHERE i.group_name <> 'law'",
        "WITH x AS (SELECT * FROM lines) SELECT line FROM x WHERE group_name = 'ops'",
        "SELECT id FROM interactions UNION ALL SELECT owner_id FROM attempts",
    ],
)
def test_no_query_of_a_reader_finds_another_group(
    become: Callable[..., Any], statement: str
) -> None:
    theirs = become("operator").execute(
        "SELECT id FROM interactions WHERE group_name = 'ops' UNION "
        "SELECT content FROM chat_messages WHERE group_name = 'ops'"
    )
    secrets = {row[0] for row in theirs}
    found = become("reader", "law").execute(statement).fetchall()
    assert not secrets & {row[0] for row in found}


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM interactions",
        "UPDATE chat_messages SET group_name = 'law'",
        "INSERT INTO writers VALUES ('w9', 'x', 'x')",
        "SELECT * FROM segments",
        "ALTER TABLE interactions DISABLE ROW LEVEL SECURITY",
        "ALTER TABLE interactions OWNER TO current_user",
        "DROP POLICY coe_reader ON interactions",
        "CREATE POLICY mine ON interactions USING (true)",
        "TRUNCATE interactions",
        "COPY interactions TO PROGRAM 'cat'",
    ],
)
@pytest.mark.parametrize("role", ["reader", "operator"])
def test_who_reads_changes_nothing(become: Callable[..., Any], statement: str, role: str) -> None:
    connection = become(role, "law")
    if role == "operator" and statement.startswith("SELECT"):
        return
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute(statement)


def test_row_security_cannot_be_switched_off_by_a_reader(become: Callable[..., Any]) -> None:
    """What the setting does is to refuse, instead of filtering."""
    connection = become("reader", "law")
    connection.execute("SET row_security = off")
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="row-level security"):
        connection.execute("SELECT * FROM interactions")


def test_no_role_owns_a_table(become: Callable[..., Any]) -> None:
    owners = become("operator").execute(
        "SELECT DISTINCT pg_get_userbyid(relowner) FROM pg_class"
        " WHERE relnamespace = current_schema()::regnamespace"
    )
    assert not [name for (name,) in owners if name.endswith(("_writer", "_reader", "_operator"))]


def test_user_who_may_not_make_roles_is_told_what_to_run(
    folder: DataFolder, postgres_url: str
) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as admin:
        admin.execute("CREATE ROLE plain LOGIN")
        admin.execute("CREATE DATABASE plain OWNER plain")
    url = postgres_url.replace("/postgres?", "/plain?").replace("user=coe", "user=plain")
    tables = DataFolder(folder.path, url).tables
    with pytest.raises(StartRefused, match='CREATE ROLE "plain_writer" NOLOGIN; ') as refusal:
        migrate(tables)
    with psycopg.connect(postgres_url, autocommit=True) as admin:
        admin.execute(str(refusal.value).partition("run, once: ")[2])
    migrate(tables)
    assert tables.version(table.VERSION_TABLE) == table.HEAD
