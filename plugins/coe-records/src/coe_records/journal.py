"""The journal: gathers the turns that wait, and has a thread of its own write them in groups."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeAlias

from attrs import define, field

from coe_core.error import CoeError, Unavailable
from coe_core.ledger import Intent
from coe_core.outage import Outage
from coe_core.record import Interaction, JobRun, Pointer, Record
from coe_records.database import raised, reason
from coe_records.folder import DataFolder
from coe_records.window import Window
from coe_records.writer import Draft, Writer, outage_of_writing

GROUP_TURNS = 1024
"""The most turns that are written at once; the others wait for the next group."""

TRY_AGAIN_S = 1.0

Waiting: TypeAlias = tuple[Draft, "asyncio.Future[Pointer]", float]
"""A record, made ready, who waits for it, and since when on the monotonic clock."""
Written: TypeAlias = Pointer | Exception


@define(eq=False)
class GroupJournal:
    """A `Journal`. Usable between `open` and `close`, on one event loop.

    A data folder that cannot be written now does not keep it from opening: it refuses every turn,
    and tries again with each, so that it goes on by itself.
    """

    _folder: DataFolder
    _open_writer: Callable[[], Writer]
    _writer: Writer | None = field(default=None, init=False)
    _thread: ThreadPoolExecutor | None = field(default=None, init=False)
    _waiting: deque[Waiting] = field(factory=deque, init=False)
    _written: Sequence[Waiting] = field(default=(), init=False)
    """The group that is being written."""
    _draining: asyncio.Task[None] | None = field(default=None, init=False)
    commits: Window = field(factory=Window, init=False)
    """How long it took to write a group."""
    _next_try_s: float = field(default=0.0, init=False)
    """Before then no turn is begun while turns are refused."""
    refusal: str | None = field(default=None, init=False)
    """Why turns are refused, None while they are not."""
    outage: Outage = field(factory=outage_of_writing, init=False)
    """Shared with the writer, which may be one after another until the folder can be used."""

    @property
    def queue_turns(self) -> int:
        """How many turns wait for the disk."""
        return len(self._written) + len(self._waiting)

    @property
    def oldest_waiting_s(self) -> float:
        """How long the first of them has waited."""
        oldest = next((since_s for *_, since_s in (*self._written[:1], *self._waiting)), None)
        return 0.0 if oldest is None else time.monotonic() - oldest

    async def open(self) -> None:
        """Recover, and become a writer."""
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="coe-journal")
        loop = asyncio.get_running_loop()
        try:
            await loop.run_in_executor(self._thread, self._ready)
        except Unavailable as error:
            self.refusal = error.message

    async def close(self) -> None:
        """Write what waits, and cease to be a writer."""
        if self._draining is not None:
            await self._draining
        if self._thread is not None:
            self._thread.shutdown()
            self._thread = None
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    async def append(self, record: Record) -> Pointer:
        """Write a record; it is durable when this returns."""
        if self._thread is None:
            raise Unavailable("the journal is closed")
        draft = Draft.of(record)
        future: asyncio.Future[Pointer] = asyncio.get_running_loop().create_future()
        self._waiting.append((draft, future, time.monotonic()))
        if self._draining is None:
            self._draining = asyncio.create_task(self._drain())
        pointer = await future
        if self._writer is not None and isinstance(record, Interaction | JobRun):
            for attempt in record.attempts:
                self._writer.intents.remove(attempt.id)
        return pointer

    def intend(self, intent: Intent) -> None:
        """Note an attempt. The kernel has it when this returns, the disk maybe not.

        While turns are refused one each second is let through, to see whether that is over: the
        others are refused before they cost anything.
        """
        if self.refusal is not None:
            if time.monotonic() < self._next_try_s:
                raise Unavailable(self.refusal, retry_after_s=5)
            self._next_try_s = time.monotonic() + TRY_AGAIN_S
        if self._writer is not None:
            try:
                self._writer.intents.add(intent)
            except OSError as error:
                raise Unavailable(
                    f"the record of the turn cannot be written: {reason(error)}. Free some room "
                    "in the data folder, or make it writable; the server then goes on by itself",
                    retry_after_s=5,
                ) from error

    async def try_again(self) -> None:
        """See whether turns are still refused for a reason. Who sends turns elsewhere meanwhile
        sends none that would find out.
        """
        if self.refusal is not None and self._thread is not None:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._rehearse)

    def _rehearse(self) -> None:
        try:
            self._ready().rehearse()
        except Unavailable as error:
            self.refusal = error.message
        else:
            self.refusal = None

    async def _drain(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._waiting:
                size = min(len(self._waiting), GROUP_TURNS)
                group = self._written = [self._waiting.popleft() for _ in range(size)]
                drafts = [draft for draft, *_ in group]
                results = await loop.run_in_executor(self._thread, self._write, drafts)
                self._written = ()
                for (_, future, _), result in zip(group, results, strict=True):
                    _resolve(future, result)
                # Those just answered get to add their next turn to the next group.
                await asyncio.sleep(0)
        finally:
            self._draining = None
            self._written = ()

    def _write(self, drafts: Sequence[Draft]) -> list[Written]:
        try:
            with self.commits.timing():
                written = list[Written](self._ready().commit(drafts))
        except Unavailable as error:
            self.refusal = error.message
            return [_copy(error) for _ in drafts]
        except Exception as error:  # One turn that cannot be written spoils no other.
            if len(drafts) == 1:
                return [error]
            return [result for draft in drafts for result in self._write([draft])]
        self.refusal = None
        return written

    def _ready(self) -> Writer:
        if self._writer is None:
            try:
                self._writer = self._open_writer()
            except raised() as error:
                self.outage.met(error, folder=str(self._folder.path))
                raise Unavailable(
                    f"the data folder cannot be used: {reason(error)}; `coe doctor` on the server "
                    "tells more. The server goes on by itself once it can be",
                    retry_after_s=5,
                ) from error
        return self._writer


def _copy(error: CoeError) -> CoeError:
    """Make an error for each who waits: one instance raised in many tasks mixes tracebacks."""
    copy = type(error)(error.message, retry_after_s=error.retry_after_s)
    copy.__cause__ = error.__cause__
    return copy


def _resolve(future: asyncio.Future[Pointer], result: Written) -> None:
    if future.done():
        return  # Who waited was cancelled.
    if isinstance(result, Exception):
        future.set_exception(result)
    else:
        future.set_result(result)
