"""Data folders to test in, each with an empty database: the migration is run once."""

import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from typing import Any

import pytest
from coe_records import database, table
from coe_records.disk import Disk
from coe_records.folder import DataFolder
from coe_records.writer import Writer

from coe_core.identity import AttemptId, SessionId, TurnId, uuid7
from coe_core.ledger import Attempt
from coe_core.message import assistant, user
from coe_core.model import Usage
from coe_core.record import Interaction, conversation_digest
from coe_core.service import Clock
from coe_core.testing.clock import EPOCH, ManualClock
from coe_core.turn import Outcome


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("empty") / "coe.db"
    database.migrate(path)
    return path


@pytest.fixture(scope="session")
def memory() -> Iterator[Path]:
    """A folder in memory where the system has such: to most tests a sync is only a delay."""
    shared = Path("/dev/shm")
    with TemporaryDirectory(dir=shared if os.access(shared, os.W_OK) else None) as name:
        yield Path(name)


@pytest.fixture(scope="session")
def new_folder(empty_database: Path, memory: Path) -> Callable[[], DataFolder]:
    def make() -> DataFolder:
        folder = DataFolder(Path(mkdtemp(dir=memory)))
        shutil.copy(empty_database, folder.database)
        return folder

    return make


@pytest.fixture
def folder(new_folder: Callable[[], DataFolder]) -> DataFolder:
    return new_folder()


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
        connection = database.connect(folder.database, writable=False)
        try:
            return {
                name: connection.execute(f"SELECT * FROM {name} ORDER BY 1, 2").fetchall()
                for name in table.metadata.tables
            }
        finally:
            connection.close()

    return read


@pytest.fixture
def sql(folder: DataFolder) -> Iterator[sqlite3.Connection]:
    """An operator's hand on the database."""
    connection = database.connect(folder.database)
    yield connection
    connection.close()
