"""The journal: gathers the turns that wait, and writes them in groups.

Statements for SQLite run on the event loop's thread, and only what waits elsewhere: two threads
that both run Python take the interpreter from each other at each statement, which costs more than
the statements do (ADR 0043). Groups whose statements wait, or are much work, go to a thread.
"""

from __future__ import annotations

import asyncio
import resource
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any, TypeAlias, TypeVar

from attrs import define, field

from coe_core.error import CoeError, Unavailable
from coe_core.ledger import Intent
from coe_core.outage import Outage
from coe_core.record import Interaction, JobRun, Pointer, Record
from coe_records.database import raised, reason
from coe_records.disk import Sync
from coe_records.folder import DataFolder
from coe_records.kernel_sync import KernelSync
from coe_records.step import Call, Steps, in_one, take, take_on_loop
from coe_records.window import Window
from coe_records.writer import Draft, Writer, outage_of_writing

GROUP_TURNS = 1024
"""The most turns that are written at once; the others wait for the next group."""

LOOP_TURNS = 64
LOOP_BYTES = 1 << 20
LOOP_ROWS = 1024
"""The most that is written at once on the loop's thread: some milliseconds' work."""

PAUSE_S = 0.002
"""How long a group waits for more turns to share it, while turns come faster than groups end."""

COLD_BYTES = 1 << 18
COLD_S = 10.0
"""For how long groups go to the thread once the loop's has read so much from the disk in a second:
each page of a database that is not in memory is a wait.
"""

TRY_AGAIN_S = 1.0

_THREAD = getattr(resource, "RUSAGE_THREAD", resource.RUSAGE_SELF)  # macOS has no such thing.

Waiting: TypeAlias = tuple[Draft, "asyncio.Future[Pointer]", float]
"""A record, made ready, who waits for it, and since when on the monotonic clock."""
Written: TypeAlias = Pointer | Exception
T = TypeVar("T")


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
    _hand: asyncio.Lock = field(factory=asyncio.Lock, init=False)
    """Held by who uses the writer, which only one may."""
    _kernel: KernelSync | None = field(default=None, init=False)
    _reads: tuple[float, int] = field(default=(0.0, 0), init=False)
    """When it was last seen how many bytes the loop's thread had read, and how many."""
    _cold_until_s: float = field(default=0.0, init=False)
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
        with suppress(OSError):  # The thread syncs too.
            self._kernel = KernelSync()
        try:
            await self._in_thread(self._ready)
        except Unavailable as error:
            self.refusal = error.message

    async def close(self) -> None:
        """Write what waits, and cease to be a writer."""
        if self._draining is not None:
            await asyncio.wait([self._draining])
        if self._writer is not None:
            await self._in_thread(self._writer.close)
            self._writer = None
        if self._thread is not None:
            self._thread.shutdown()
            self._thread = None
        if self._kernel is not None:
            self._kernel.close()
            self._kernel = None

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
            async with self._hand:
                await take_on_loop(in_one(self._rehearse), self._begin)

    def _rehearse(self) -> None:
        try:
            self._ready().rehearse()
        except Unavailable as error:
            self.refusal = error.message
        else:
            self.refusal = None

    async def _drain(self) -> None:
        try:
            while self._waiting:
                async with self._hand:
                    await self._write_group()
                # Those just answered get to add their next turn to the next group.
                has_time = 0 < len(self._waiting) < LOOP_TURNS and not self._is_apart
                await asyncio.sleep(PAUSE_S if has_time else 0)
        finally:
            self._draining = None
            self._written = ()

    async def _write_group(self) -> None:
        is_apart = self._is_apart
        size = min(len(self._waiting), GROUP_TURNS if is_apart else LOOP_TURNS)
        group = self._written = [self._waiting.popleft() for _ in range(size)]
        drafts = [draft for draft, *_ in group]
        steps = self._write(drafts)
        if is_apart or _is_much(drafts):
            steps = in_one(partial(take, steps))
        results = await take_on_loop(steps, self._begin)
        self._note_reads()
        self._written = ()
        for (_, future, _), result in zip(group, results, strict=True):
            _resolve(future, result)

    @property
    def _is_apart(self) -> bool:
        """Whether groups go to the thread now."""
        is_cold = time.monotonic() < self._cold_until_s
        return is_cold or self._writer is None or self._writer.waits

    def _note_reads(self) -> None:
        now_s, read = time.monotonic(), 512 * resource.getrusage(_THREAD).ru_inblock
        since_s, before = self._reads
        if since_s and read > before + COLD_BYTES:
            self._cold_until_s = now_s + COLD_S
        if now_s > since_s + 1:
            self._reads = now_s, read

    def _begin(self, call: Call) -> asyncio.Future[Any]:
        if isinstance(call, Sync) and self._kernel is not None:
            begun = call.begin(self._kernel)
            if begun is not None:
                return begun
        return self._in_thread(call)

    def _in_thread(self, call: Callable[[], T]) -> asyncio.Future[T]:
        return asyncio.get_running_loop().run_in_executor(self._thread, call)

    def _write(self, drafts: Sequence[Draft]) -> Steps[list[Written]]:
        try:
            with self.commits.timing():
                written: Sequence[Written] = yield from self._ready().committing(drafts)
        except Unavailable as error:
            self.refusal = error.message
            return [_copy(error) for _ in drafts]
        except Exception as error:  # One turn that cannot be written spoils no other.
            if len(drafts) == 1:
                return [error]
            results = list[Written]()
            for draft in drafts:
                results += yield from self._write([draft])
            return results
        self.refusal = None
        return list(written)

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


def _is_much(drafts: Sequence[Draft]) -> bool:
    rows = sum(draft.rows for draft in drafts)
    return rows > LOOP_ROWS or sum(len(draft.text) for draft in drafts) > LOOP_BYTES


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
