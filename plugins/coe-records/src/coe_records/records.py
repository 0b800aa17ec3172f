"""The system of record of a deployment: one component that is three of its services."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import define, field

from coe_core.error import StartRefused
from coe_core.identity import SessionId, TurnId
from coe_core.ledger import Intent
from coe_core.message import Message
from coe_core.record import Feedback, Interaction, Pointer, Record
from coe_core.service import Clock, History, SessionStore, Stretch
from coe_core.settings import Secret
from coe_records.delta import is_long
from coe_records.disk import TimedDisk
from coe_records.folder import DataFolder
from coe_records.log import Log
from coe_records.window import Window

if TYPE_CHECKING:
    from coe_core.application import Application
    from coe_records.conversation import Uncovered
    from coe_records.journal import GroupJournal
    from coe_records.probe import Probe
    from coe_records.reader import Reader

MANY = 10_000


@define(eq=False)
class Records:
    """`Journal`, `RecordReader` and `SessionStore` over one data folder.

    What does the work is loaded when it opens, SQLAlchemy above all.
    """

    _data_dir: Path
    _clock: Clock
    _segment_bytes: int
    _server: Secret | None = None
    name: str = "records"
    syncs: Window = field(factory=Window, init=False)
    """How long the disk took to write a group down."""
    journal: GroupJournal = field(init=False)
    long_conversations: set[TurnId] = field(factory=set, init=False)
    """The turns whose history was read for another, and is about to grow beyond the window."""
    _reader: Reader = field(init=False)

    async def open(self) -> None:
        """Recover what a crash left, and make ready to write and read."""
        from coe_records.journal import GroupJournal
        from coe_records.reader import Reader
        from coe_records.writer import Writer

        server = self._server.reveal() if self._server else None
        folder = DataFolder(self._data_dir, server)
        self._reader = Reader(folder)
        self.journal = GroupJournal(
            folder,
            lambda: Writer.open(
                folder,
                self._clock,
                disk=TimedDisk(self.syncs),
                segment_bytes=self._segment_bytes,
                outage=self.journal.outage,
            ),
        )
        await self.journal.open()
        await self._reader.open()

    async def close(self) -> None:
        """Write what waits, and close the files."""
        await self.journal.close()
        await self._reader.close()

    @property
    def log(self) -> Log:
        """The log, to be read."""
        return Log(DataFolder(self._data_dir).events)

    @property
    def refusal(self) -> str | None:
        """Why turns are refused, None while they are not."""
        return self.journal.refusal

    async def look(self, probe: Probe) -> None:
        """Let a probe look at log and database. Raises `Unavailable` when they cannot be read."""
        await self._reader.look(probe, self._clock.monotonic_s())

    async def append(self, record: Record) -> Pointer:
        """Write a record; it is durable when this returns."""
        return await self.journal.append(record)

    def intend(self, intent: Intent) -> None:
        """Note an attempt."""
        self.journal.intend(intent)

    async def interaction(self, group: str, turn_id: TurnId) -> Interaction | None:
        """Return a turn."""
        return await self._reader.interaction(group, turn_id)

    def interactions(
        self, group: str | None, *, since: datetime | None = None, until: datetime | None = None
    ) -> AsyncIterator[Interaction]:
        """Iterate over turns."""
        return self._reader.interactions(group, since=since, until=until)

    async def newest(
        self, group: str, limit: int, *, since: datetime | None = None
    ) -> Sequence[Interaction]:
        """Return the turns that began last."""
        return await self._reader.newest(group, limit, since=since)

    def feedback(
        self, group: str | None, *, since: datetime | None = None, until: datetime | None = None
    ) -> AsyncIterator[Feedback]:
        """Iterate over feedback."""
        return self._reader.feedback(group, since=since, until=until)

    def follow(self, cursor: str = "", *, without: Collection[str] = ()) -> AsyncIterator[Stretch]:
        """Read the log on from a cursor."""
        return self._reader.follow(cursor, without=without)

    async def end(self) -> str:
        """Return the cursor behind all that was recorded until now."""
        return await self._reader.end()

    async def head(self, group: str, session_id: SessionId) -> TurnId | None:
        """Return the newest turn of a session."""
        return await self._reader.head(group, session_id)

    async def find(self, group: str, conversation: str) -> Interaction | None:
        """Return the newest turn of a conversation."""
        return await self._reader.find(group, conversation)

    async def history(self, group: str, turn_id: TurnId, *, limit: int) -> History:
        """Return a conversation."""
        history = await self._reader.history(group, turn_id, limit=limit)
        if is_long(len(history.messages), limit):
            if len(self.long_conversations) >= MANY:  # Of turns that were never made.
                self.long_conversations.clear()
            self.long_conversations.add(turn_id)
        return history

    async def uncovered(self, group: str, turn_id: TurnId) -> Uncovered | None:
        """Return what of the conversation through that turn no summary covers."""
        return await self._reader.uncovered(group, turn_id)

    async def messages(self, group: str, turn_ids: Sequence[TurnId]) -> Sequence[Message]:
        """Return the messages of some turns of a conversation, in order."""
        return await self._reader.messages(group, turn_ids)

    async def ends(self) -> dict[str, int]:
        """Tell how far each segment of the log goes."""
        return await self._reader.ends()

    async def pointer(self, group: str, turn_id: TurnId) -> Pointer | None:
        """Tell where a turn is in the log."""
        return await self._reader.pointer(group, turn_id)


def refuse_unopened(application: Application) -> None:
    """Raise `StartRefused`, and say why, where the records did not open: what stands in for them
    knows no turn.
    """
    if isinstance(application.need(SessionStore), Records):
        return
    for problem in application.problems:
        if problem.plugin == "records":
            raise StartRefused(problem.text)
