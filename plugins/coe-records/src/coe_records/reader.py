"""Reads turns, conversations and feedback back, each query within one group."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from attrs import define, field
from sqlalchemy import Column, Connection, Engine, Select, exists, select, tuple_
from sqlalchemy.exc import DBAPIError

from coe_core.codec import decode, encode, rfc3339, structure
from coe_core.error import Unavailable
from coe_core.identity import SessionId, TurnId
from coe_core.message import Message
from coe_core.outage import Outage
from coe_core.record import Feedback, Interaction, Pointer
from coe_core.service import History, Stretch
from coe_records.conversation import Uncovered, history, said, uncovered
from coe_records.database import reason
from coe_records.envelope import Line
from coe_records.extent import Extent
from coe_records.folder import DataFolder
from coe_records.log import Log
from coe_records.row import conversation_key
from coe_records.table import feedback, interactions, lines

if TYPE_CHECKING:
    from coe_records.probe import Probe

T = TypeVar("T")

PAGE_RECORDS = 200

POINTER = ("segment", "offset", "length", "sha256")


@define(eq=False)
class Reader:
    """A `RecordReader` and a `SessionStore`, on threads of its own."""

    _folder: DataFolder
    _log: Log = field(init=False)
    _engine: Engine = field(init=False)
    _threads: ThreadPoolExecutor = field(init=False)
    _outage: Outage = field(init=False)

    @_log.default
    def _(self) -> Log:
        return Log(self._folder.events)

    @_outage.default
    def _(self) -> Outage:
        return Outage("the database cannot be read", "the database is read again")

    async def open(self) -> None:
        """Make ready; nothing is read yet."""
        self._engine = self._folder.tables.engine()
        self._threads = ThreadPoolExecutor(4, thread_name_prefix="coe-records")

    async def close(self) -> None:
        """Close the connections, after the reads that are under way."""
        self._threads.shutdown()
        self._engine.dispose()

    async def interaction(self, group: str, turn_id: TurnId) -> Interaction | None:
        """Return a turn of the group, read from the log."""
        if "\0" in turn_id:
            return None  # Postgres cannot even be asked for it.
        query = selected(interactions).where(interactions.c.id == turn_id, _of(group))
        return await self._run(group, lambda c: next(self._records(c, query, Interaction), None))

    def interactions(
        self, group: str | None, *, since: datetime | None = None, until: datetime | None = None
    ) -> AsyncIterator[Interaction]:
        """Iterate over turns by start, some hundred at a time."""
        extent = Extent(group=group, since=since, until=until)
        return self._listed(Interaction, extent, interactions.c.started_at)

    async def newest(
        self, group: str, limit: int, *, since: datetime | None = None
    ) -> Sequence[Interaction]:
        """Return the turns that began last, by the index of starts."""
        at = interactions.c.started_at
        query = (
            selected(interactions)
            .where(*Extent(group=group, since=since).holds(interactions, at))
            .order_by(at.desc(), interactions.c.id.desc())
            .limit(limit)
        )
        return await self._page(group, query, Interaction)

    def feedback(
        self, group: str | None, *, since: datetime | None = None, until: datetime | None = None
    ) -> AsyncIterator[Feedback]:
        """Iterate over feedback by when it was given, some hundred at a time."""
        extent = Extent(group=group, since=since, until=until)
        return self._listed(Feedback, extent, feedback.c.at)

    async def follow(
        self, cursor: str = "", *, without: Collection[str] = ()
    ) -> AsyncIterator[Stretch]:
        """Read the log on from a cursor, some hundred records at a time."""
        from coe_records.following import Follower

        follower = Follower(self._log, without)
        while True:
            ask = partial(follower.next, cursor=cursor)
            stretch = await self._run(None, ask)
            if stretch is None:
                return
            yield stretch
            cursor = stretch.cursor

    async def end(self) -> str:
        """Return the cursor behind all that is in the database now."""
        return encode(await self.ends()).decode()

    async def head(self, group: str, session_id: SessionId) -> TurnId | None:
        """Return the newest turn of a session: of those that no other of it follows, the one that
        began last, so that a clock set back does not hide a turn.
        """
        turns, later = interactions, interactions.alias()
        is_followed = exists().where(
            later.c.follows == turns.c.id,
            later.c.group_name == turns.c.group_name,
            later.c.session_id == turns.c.session_id,
        )
        query = (
            select(turns.c.id)
            .where(turns.c.session_id == session_id, _of(group), ~is_followed)
            .order_by(turns.c.started_at.desc(), turns.c.id.desc())
            .limit(1)
        )
        return await self._run(group, lambda connection: connection.scalar(query))

    async def find(self, group: str, conversation: str) -> Interaction | None:
        """Return the newest turn whose conversation has that digest."""
        query = (
            selected(interactions)
            .where(interactions.c.conversation_key == conversation_key(conversation), _of(group))
            .order_by(interactions.c.started_at.desc(), interactions.c.id.desc())
        )

        def search(connection: Connection) -> Interaction | None:
            turns = self._records(connection, query, Interaction)
            return next((turn for turn in turns if turn.conversation == conversation), None)

        return await self._run(group, search)

    async def history(self, group: str, turn_id: TurnId, *, limit: int) -> History:
        """Return the newest messages of the conversation through that turn, those that no summary
        of what was before covers, and that summary. It costs what they do, however long the
        conversation is.
        """
        return await self._run(group, lambda connection: history(connection, group, turn_id, limit))

    async def uncovered(self, group: str, turn_id: TurnId) -> Uncovered | None:
        """Return what of the conversation through that turn no summary covers."""
        return await self._run(group, lambda connection: uncovered(connection, group, turn_id))

    async def messages(self, group: str, turn_ids: Sequence[TurnId]) -> Sequence[Message]:
        """Return the messages of some turns of a conversation, in order."""
        return await self._run(group, lambda connection: said(connection, group, turn_ids))

    async def ends(self) -> dict[str, int]:
        """Tell how far each segment goes, as far as it is in the database."""
        from coe_records.following import ends

        return await self._run(None, ends)

    async def pointer(self, group: str, turn_id: TurnId) -> Pointer | None:
        """Tell where a turn is."""
        query = select(*place(interactions)).where(interactions.c.id == turn_id, _of(group))
        row = await self._run(group, lambda connection: connection.execute(query).first())
        return Pointer(**dict(zip(POINTER, row, strict=True))) if row is not None else None

    async def look(self, probe: Probe, now_s: float) -> None:
        """Let a probe look at log and database."""
        await self._run(None, lambda connection: probe.look(connection, now_s))

    async def _listed(self, kind: type[T], extent: Extent, at: Column[str]) -> AsyncIterator[T]:
        """Page through a table by a time, whose column is called as the record's field is."""
        table = at.table
        query = (
            selected(table)
            .where(*extent.holds(table, at))
            .order_by(at, table.c.id)
            .limit(PAGE_RECORDS)
        )
        page = await self._page(extent.group, query, kind)
        while page:
            for record in page:
                yield record
            last: Any = page[-1]
            newest = (rfc3339(getattr(last, at.name)), last.id)
            page = await self._page(
                extent.group, query.where(tuple_(at, table.c.id) > newest), kind
            )

    async def _page(self, group: str | None, query: Select[Any], kind: type[T]) -> Sequence[T]:
        return await self._run(
            group, lambda connection: list(self._records(connection, query, kind))
        )

    def _records(self, connection: Connection, query: Select[Any], kind: type[T]) -> Iterator[T]:
        for segment, offset, length, sha256, raw in connection.execute(query):
            pointer = Pointer(segment=segment, offset=offset, length=length, sha256=sha256)
            yield structure(told(self._log.line(pointer, raw)), kind)

    async def _run(self, group: str | None, work: Callable[[Connection], T]) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._read, group, work)

    def _read(self, group: str | None, work: Callable[[Connection], T]) -> T:
        try:
            with self._engine.connect() as connection:
                self._folder.tables.begin_reading(connection, group)
                found = work(connection)
        except DBAPIError as error:
            self._outage.met(error.orig, database=self._folder.tables.place)
            text = f"the database cannot be read: {reason(error.orig)}"
            raise Unavailable(text, retry_after_s=5) from error
        self._outage.passed()
        return found


def place(table: Any) -> tuple[Column[Any], ...]:
    """Return the columns of a table that are the pointer."""
    return table.c.segment, table.c.offset_bytes, table.c.length_bytes, table.c.sha256


def selected(table: Any) -> Select[Any]:
    """Select pointers from a table, and the lines that they point to, where those are kept."""
    there = (lines.c.segment == table.c.segment) & (lines.c.offset_bytes == table.c.offset_bytes)
    return select(*place(table), lines.c.line).join(lines, there, isouter=True)


def told(line: Line) -> Any:
    """Return the body of the record that a line tells of: its own, or that which it restores."""
    body = decode(line.body)
    if line.kind != "repair":
        return body
    (restored,) = body["restored"].values()
    return restored


def _of(group: str) -> Any:
    """Every query has this, but those for operators' reports."""
    return interactions.c.group_name == group
