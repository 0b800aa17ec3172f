"""The book: keeps the roll-ups level with the log, and answers from them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from attrs import define, field
from loguru import logger

from coe_core.contract import Sample
from coe_core.error import Conflict
from coe_core.record import Record
from coe_core.service import Clock, RecordReader
from coe_kpi.fact import NOT_COUNTED, facts
from coe_kpi.gauge import Gauges
from coe_kpi.store import RollupStore

T = TypeVar("T")

FILE = "kpi.sqlite"
PATIENCE_S = 2.0
"""How long an answer waits for what was recorded just before."""


@define(eq=False)
class Book:
    """Folds the log into the roll-ups while it is open; a monitor, for it measures the KPIs.

    Every worker may do so: a stretch that another has added meanwhile is passed over.
    """

    _data_dir: Path
    _reader: RecordReader
    _clock: Clock
    _fold_s: float
    _gauges: Gauges
    name: str = "kpi"
    _writing: RollupStore = field(init=False)
    _asking: RollupStore = field(init=False)
    """A connection of its own, so that no answer waits behind a stretch that is added."""
    _threads: tuple[ThreadPoolExecutor, ThreadPoolExecutor] = field(init=False)
    _task: asyncio.Task[None] | None = field(default=None, init=False)
    _folding: asyncio.Lock = field(factory=asyncio.Lock, init=False)

    async def open(self) -> None:
        """Open the roll-ups, and begin to fold."""
        path = self._data_dir / FILE
        self._writing, self._asking = RollupStore.open(path), RollupStore.open(path)
        self._threads = (
            ThreadPoolExecutor(1, thread_name_prefix="coe-kpi-fold"),
            ThreadPoolExecutor(1, thread_name_prefix="coe-kpi"),
        )
        self._task = asyncio.create_task(self._fold_again_and_again())

    async def close(self) -> None:
        """Stop; what is not folded yet is folded by whoever opens next."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        for threads in self._threads:
            threads.shutdown()
        self._writing.close()
        self._asking.close()

    async def ask(self, question: Callable[[RollupStore], T]) -> T:
        """Answer from the roll-ups, level with the log if that does not take long."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self.catch_up(), PATIENCE_S)
        return await _on(self._threads[1], lambda: self._answer(question))

    def _answer(self, question: Callable[[RollupStore], T]) -> T:
        with self._asking.snapshot():
            return question(self._asking)

    async def measure(self) -> Sequence[Sample]:
        now = self._clock.now()
        return await self.ask(lambda store: self._gauges.measure(store, now))

    async def catch_up(self) -> None:
        """Fold what was recorded until now."""
        async with self._folding:
            cursor = await _on(self._threads[0], lambda: self._writing.cursor)
            try:
                async for stretch in self._reader.follow(cursor, without=NOT_COUNTED):
                    await self._add(stretch.records, cursor, stretch.cursor)
                    cursor = stretch.cursor
            except Conflict:
                logger.warning("the log is another than the one that was folded: KPIs begin again")
                await _on(self._threads[0], self._writing.clear)

    async def _add(self, records: Sequence[Record], behind: str, cursor: str) -> None:
        # Shielded, for a thread cannot be cancelled: the next one must find it done.
        adding = _on(
            self._threads[0],
            lambda: self._writing.add(facts(records), behind=behind, cursor=cursor),
        )
        await asyncio.shield(adding)

    async def _fold_again_and_again(self) -> None:
        while True:
            try:
                await self.catch_up()
            except Exception as error:
                logger.opt(exception=error).error("the log could not be folded into KPIs")
            await self._clock.sleep(self._fold_s)


def _on(threads: ThreadPoolExecutor, work: Callable[[], T]) -> asyncio.Future[T]:
    return asyncio.get_running_loop().run_in_executor(threads, work)
