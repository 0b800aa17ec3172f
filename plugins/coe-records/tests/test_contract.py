import itertools
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import pytest
from coe_records import feedback
from coe_records.check import RecordsCheck
from coe_records.command import records_command
from coe_records.folder import DataFolder
from coe_records.plugin import RecordsPlugin
from coe_records.plugin_database import PluginDatabase
from coe_records.records import Records

from coe_core.http import HttpRoute
from coe_core.settings import Secret
from coe_core.testing import CliCommandContract, DatabaseContract, HttpRouteContract
from coe_core.testing.clock import ManualClock
from coe_core.testing.contracts.check import CheckContract
from coe_core.testing.contracts.journal import (
    JournalContract,
    RecordReaderContract,
    SessionStoreContract,
)
from coe_core.testing.contracts.plugin import PluginContract
from coe_core.testing.postgres import new_schema

SecretOf = Callable[[DataFolder], Secret | None]


class OnFolders:
    @pytest.fixture(autouse=True)
    def folders(self, new_folder: Callable[[], DataFolder], secret: SecretOf) -> None:
        self.new_folder, self.secret = new_folder, secret

    def records(self) -> Records:
        folder = self.new_folder()
        return Records(folder.path, ManualClock(), 1 << 20, self.secret(folder))


class TestJournal(OnFolders, JournalContract):
    def make(self) -> Records:
        return self.records()


class TestRecordReader(OnFolders, RecordReaderContract):
    examples = 10

    def make(self) -> tuple[Records, Records]:
        return tuple(itertools.repeat(self.records(), 2))  # type: ignore[return-value]


class TestSessionStore(OnFolders, SessionStoreContract):
    examples = 10

    def make(self) -> tuple[Records, Records]:
        return tuple(itertools.repeat(self.records(), 2))  # type: ignore[return-value]


class TestDatabase(DatabaseContract):
    examples = 10

    @pytest.fixture(autouse=True)
    def of_kind(self, database_kind: str, request: pytest.FixtureRequest) -> None:
        self.url = None
        if database_kind == "postgres":
            self.url = request.getfixturevalue("postgres_url")

    async def make(self) -> AsyncIterator[PluginDatabase]:
        with TemporaryDirectory() as name:
            file = Path(name) / "server"
            if self.url is not None:
                file.write_text(new_schema(self.url))
            yield PluginDatabase(Path(name), Secret(f"file:{file}") if self.url else None)


class TestCheck(OnFolders, CheckContract):
    def make(self) -> RecordsCheck:
        return RecordsCheck((folder := self.new_folder()).path, self.secret(folder))


class TestFeedbackRoute(HttpRouteContract):
    def make(self) -> HttpRoute:
        return feedback.ROUTE


class TestFeedbackCommand(CliCommandContract):
    def make(self) -> click.Command:
        return feedback.command


class TestRecordsCommand(CliCommandContract):
    def make(self) -> click.Command:
        return records_command()


class TestPlugin(PluginContract):
    name = "records"

    def make(self) -> type[Any]:
        return RecordsPlugin
