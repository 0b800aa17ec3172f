"""Data folders to test in, each with an empty database: the migration is run once."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from typing import Any

import psycopg
import pytest
from click import Command, Context
from click.testing import CliRunner, Result
from coe_records import table
from coe_records.command import records_command
from coe_records.database import Connection
from coe_records.disk import Disk
from coe_records.folder import DataFolder
from coe_records.migration import migrate
from coe_records.settings import Settings
from coe_records.writer import Writer
from sqlalchemy import Engine, event

from coe_core.cli import Frame
from coe_core.identity import AttemptId, SessionId, TurnId, uuid7
from coe_core.ledger import Attempt
from coe_core.message import assistant, user
from coe_core.model import Usage
from coe_core.record import Interaction, conversation_digest
from coe_core.service import Clock
from coe_core.settings import Secret
from coe_core.testing.clock import EPOCH, ManualClock
from coe_core.testing.postgres import new_schema
from coe_core.turn import Outcome


@pytest.fixture(scope="session", params=["sqlite", "postgres"])
def database_kind(request: pytest.FixtureRequest) -> str:
    """Where the tables are; a test that is about one of the two says so with `on_sqlite` or
    `on_postgres`.
    """
    return str(request.param)


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = DataFolder(tmp_path_factory.mktemp("empty"))
    migrate(folder.tables)
    return folder.database


@pytest.fixture(scope="session")
def memory() -> Iterator[Path]:
    """A folder in memory where the system has such: to most tests a sync is only a delay."""
    shared = Path("/dev/shm")
    with TemporaryDirectory(dir=shared if os.access(shared, os.W_OK) else None) as name:
        yield Path(name)


@pytest.fixture(scope="session")
def new_server(postgres_url: str) -> Callable[[], str]:
    """Return what makes an empty database on Postgres: the migration is run once there too."""
    statements: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, text: str, values: Any, *_: Any) -> None:
        statements.append((text, values))

    migrate(DataFolder(Path(), new_schema(postgres_url)).tables)  # It makes the roles too.
    model = new_schema(postgres_url)
    event.listen(Engine, "before_cursor_execute", note)
    migrate(DataFolder(Path(), model).tables)
    event.remove(Engine, "before_cursor_execute", note)

    def make() -> str:
        url = new_schema(postgres_url)
        with psycopg.connect(url) as connection:
            for text, values in statements:
                connection.execute(text.replace(_schema(model), _schema(url)), values)
        return url

    return make


@pytest.fixture(scope="session")
def new_folder(
    request: pytest.FixtureRequest, database_kind: str, memory: Path
) -> Callable[[], DataFolder]:
    if database_kind == "postgres":
        server = request.getfixturevalue("new_server")
        return lambda: _with_server(Path(mkdtemp(dir=memory)), server())
    empty = request.getfixturevalue("empty_database")

    def make() -> DataFolder:
        folder = DataFolder(Path(mkdtemp(dir=memory)))
        shutil.copy(empty, folder.database)
        return folder

    return make


def _schema(url: str) -> str:
    return url.rpartition("%3D")[2]


def _with_server(path: Path, server: str) -> DataFolder:
    """Keep the address in a file, for settings to name; and let the first writers be called as on
    SQLite, like those of a folder that was there before.
    """
    Path(f"{path}.server").write_text(server)
    folder = DataFolder(path, server)
    for number in range(1, 4):
        (folder.writers / f"w{number}").mkdir(parents=True)
    return folder


@pytest.fixture
def folder(new_folder: Callable[[], DataFolder]) -> DataFolder:
    return new_folder()


@pytest.fixture(scope="session")
def secret() -> Callable[[DataFolder], Secret | None]:
    """Return what the settings say of a folder's database."""

    def secret_(folder: DataFolder) -> Secret | None:
        return Secret(f"file:{folder.path}.server") if folder.server else None

    return secret_


@pytest.fixture(scope="session")
def coe_records(secret: Callable[[DataFolder], Secret | None]) -> Callable[..., Result]:
    """Run `coe records`."""

    def run(folder: DataFolder, *arguments: str) -> Result:
        frame = Frame(given_data_dir=folder.path)
        command = records_command(Settings(database=secret(folder)))
        return CliRunner().invoke(command, arguments, parent=Context(Command("coe"), obj=frame))

    return run


@pytest.fixture(scope="session")
def lose_database() -> Callable[[DataFolder], None]:
    """Lose the database, whole."""

    def lose(folder: DataFolder) -> None:
        if folder.server is None:
            folder.database.unlink()
            return
        with psycopg.connect(folder.server) as connection:
            ((schema,),) = connection.execute("SELECT current_schema()")
            connection.execute(f"DROP SCHEMA {schema} CASCADE; CREATE SCHEMA {schema}")

    return lose


@pytest.fixture(scope="session")
def open_writer() -> Callable[..., Writer]:
    """Open a writer, as a process does that has just started."""

    def open_(
        folder: DataFolder,
        *,
        clock: Clock | None = None,
        disk: Disk | None = None,
        segment_bytes: int = 1 << 20,
    ) -> Writer:
        return Writer.open(folder, clock or ManualClock(), disk=disk, segment_bytes=segment_bytes)

    return open_


@pytest.fixture(scope="session")
def crash() -> Callable[[Writer], None]:
    """Do to a writer what the kernel does when its process is killed."""

    def crash_(writer: Writer) -> None:
        writer._sealing.shutdown()  # No thread can be killed, but its work may be anywhere.
        segments = [*writer._retired, *([writer._segment] if writer._segment else [])]
        for fd in [writer._claim, *(segment._fd for segment in segments)]:
            os.close(fd)
        writer.intents.close()
        writer._projection.connection.close()

    return crash_


@pytest.fixture(scope="session")
def make_turn() -> Callable[..., Interaction]:
    """Make a turn, the `number`th of its session."""

    def make(number: int = 0, *, attempts: int = 1, **fields: Any) -> Interaction:
        turn_id = TurnId(uuid7())
        asked, answer = user(f"질문 {number}"), assistant(f"answer {number}")
        at = EPOCH + timedelta(seconds=number)
        tried = tuple(
            Attempt(
                id=AttemptId(uuid7()),
                purpose="chat",
                model="small",
                provider="openai",
                name="gpt",
                started_at=at,
                duration_s=0.5,
                usage=Usage(input_tokens=10, output_tokens=5),
            )
            for _ in range(attempts)
        )
        values: dict[str, Any] = {
            "id": turn_id,
            "group": "research",
            "session": SessionId("s1"),
            "started_at": at,
            "ended_at": at + timedelta(seconds=1),
            "requested_model": "auto",
            "request_sha256": "0" * 64,
            "root_id": turn_id,
            "new_messages": (asked,),
            "attempts": tried,
            "answer": (answer,),
            "outcome": Outcome(status="success", finish_reason="stop"),
            "conversation": conversation_digest((asked, answer)),
        }
        return Interaction(**values | fields)

    return make


@pytest.fixture(scope="session")
def tables() -> Callable[[DataFolder], dict[str, list[Any]]]:
    """Read every row of every table."""

    def read(folder: DataFolder) -> dict[str, list[Any]]:
        with closing(folder.tables.connect(writable=False)) as connection:
            return {
                each.name: connection.execute(f"SELECT * FROM {each.name} ORDER BY 1, 2").fetchall()
                for each in table.PROJECTIONS
            }

    return read


@pytest.fixture
def sql(folder: DataFolder) -> Iterator[Connection]:
    """An operator's hand on the database."""
    with closing(folder.tables.connect()) as connection:
        yield connection
