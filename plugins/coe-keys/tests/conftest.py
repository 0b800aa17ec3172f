"""A ring of keys on a real state store, with a clock that stands still."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from attrs import define, field
from coe_keys.pepper import Pepper
from coe_keys.ring import KeyRing

from coe_core.ledger import Intent
from coe_core.record import Pointer, Record
from coe_core.state import SqliteStateStore
from coe_core.testing import ManualClock


@define
class KeptJournal:
    """A `Journal` that keeps what it was given."""

    records: list[Record] = field(factory=list)

    async def append(self, record: Record) -> Pointer:
        self.records.append(record)
        return Pointer(segment="kept", offset=0, length=0, sha256="")

    def intend(self, intent: Intent) -> None:
        raise AssertionError(intent)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStateStore]:
    store = SqliteStateStore(tmp_path / "state.sqlite", poll_s=0.01)
    await store.open()
    yield store
    await store.close()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def pepper(tmp_path: Path) -> Pepper:
    return Pepper(None, tmp_path / "pepper")


@pytest.fixture
def journal() -> KeptJournal:
    return KeptJournal()


@pytest.fixture
def ring(
    store: SqliteStateStore, journal: KeptJournal, clock: ManualClock, pepper: Pepper
) -> KeyRing:
    return KeyRing(store, journal, clock, pepper, actor="tester")
