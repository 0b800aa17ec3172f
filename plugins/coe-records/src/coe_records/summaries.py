"""Keeps the summaries of conversations: made when a window has become too small for one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any

from attrs import define, evolve, field
from loguru import logger

from coe_core.application import Application
from coe_core.contract import Summarizer
from coe_core.engine import keep
from coe_core.error import MissingService
from coe_core.identity import TurnId
from coe_core.job import working
from coe_core.message import Json, lasting
from coe_core.record import Interaction, Record, Summary, summary_digest
from coe_core.service import Clock, Deployment, StateStore
from coe_records.batch import Batch, BatchBook
from coe_records.delta import deltas
from coe_records.records import Records

if TYPE_CHECKING:
    from coe_records.conversation import Uncovered

AT_ONCE = 4
"""How many summaries a process makes at once."""


def newest_turns(records: Sequence[Record]) -> Sequence[Json]:
    """Return the turns that no other among them follows: their conversations may want summaries."""
    turns = [record for record in records if isinstance(record, Interaction)]
    followed = {turn.follows for turn in turns}
    return [{"group": t.group, "turn": t.id} for t in turns if t.id not in followed]


@define(eq=False)
class SummaryKeeper:
    """An `EventSink`: after a turn whose history has nearly filled the window, what is oldest in it
    is summarized. The turn does not wait for that, and the next one sees it if it is done. What
    fails is tried again later.

    And a `SegmentJob`, which does the same for any part of the log.
    """

    _deployment: Deployment
    _records: Records
    _summarizer: str
    """The name of the one that is asked; "" for none."""
    _limit_tokens: int
    name: str = "summaries"
    version: str = "1"
    derive: Callable[[Sequence[Record]], Sequence[Json]] = newest_turns
    _making: set[asyncio.Task[None]] = field(factory=set, init=False)
    _slots: asyncio.Semaphore = field(init=False)

    async def open(self) -> None:
        self._slots = asyncio.Semaphore(AT_ONCE)

    async def close(self) -> None:
        """Stop; what was not made is made when the conversation goes on."""
        for task in self._making:
            task.cancel()
        await asyncio.gather(*self._making, return_exceptions=True)

    async def receive(self, record: Record) -> None:
        if not isinstance(record, Interaction) or record.follows is None:
            return
        if record.follows in self._records.long_conversations:
            self._records.long_conversations.discard(record.follows)
            self._begin(self._summarize(record))

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._making.add(task)
        task.add_done_callback(self._making.discard)

    async def _summarize(self, turn: Interaction) -> None:
        async with self._slots, self._deployment.lease() as application:
            try:
                await self.ensure(application, turn)
            except Exception as error:
                bound = logger.bind(turn=turn.id, error=type(error).__name__)
                bound.warning("a conversation was not summarized; it is tried again later")
                await self._note(application, turn, error)

    async def _note(self, application: Application, turn: Interaction, error: Exception) -> None:
        """Keep what failed, as the batch that is the turn's line."""
        book = BatchBook(application.need(StateStore), application.need(Clock))
        at = await self._records.pointer(turn.group, turn.id)
        if at is not None:
            line = Batch(segment=at.segment, start=at.offset, end=at.offset + at.length)
            await book.fail(self.name, line, error)

    async def keep(self, results: Sequence[Json]) -> None:
        async with self._deployment.lease() as application:
            for result in results:
                turn = await self._records.interaction(result["group"], TurnId(result["turn"]))
                if turn is not None:
                    await self.ensure(application, turn)

    async def ensure(self, application: Application, turn: Interaction) -> int:
        """Make the summaries that the conversation through a turn lacks; returns how many. Raises
        whatever the summarizer does, and keeps those made before.
        """
        uncovered = await self._records.uncovered(turn.group, turn.id)
        if uncovered is None or not self._summarizer:
            return 0
        made = 0
        for delta in deltas(uncovered.turns, application.settings.coe.history_messages):
            summary = await self._make(application, turn, uncovered, delta)
            uncovered = evolve(uncovered, extends=summary.id, summary=summary.text)
            made += 1
        return made

    async def _make(
        self,
        application: Application,
        turn: Interaction,
        uncovered: Uncovered,
        turns: Sequence[TurnId],
    ) -> Summary:
        summarizer = self._chosen(application)
        messages = lasting(await self._records.messages(turn.group, turns))
        in_force = turn.params.get("summary_tokens")
        limit_tokens = in_force.value if in_force is not None else self._limit_tokens
        async with working(application, "summaries", turn.group) as work:
            text = await summarizer.summarize(
                uncovered.summary, messages, limit_tokens=limit_tokens, parent=work
            )
            summary = Summary(
                id=summary_digest(
                    turn.group,
                    turns[-1],
                    first_turn=turns[0],
                    extends=uncovered.extends,
                    summarizer=summarizer.name,
                ),
                group=turn.group,
                session=uncovered.session,
                first_turn=turns[0],
                last_turn=turns[-1],
                messages=sum(count for turn_id, count in uncovered.turns if turn_id in turns),
                extends=uncovered.extends,
                summarizer=summarizer.name,
                text=text,
                job_id=work.id if work.ledger.attempts else None,
                at=application.need(Clock).now(),
            )
            await keep(application, summary)
        return summary

    def _chosen(self, application: Application) -> Summarizer:
        for summarizer in application.summarizers:
            if summarizer.name == self._summarizer:
                return summarizer
        known = ", ".join(summarizer.name for summarizer in application.summarizers)
        raise MissingService(
            f"[plugins.records] summarizer names {self._summarizer!r}; there are: {known}"
        )
