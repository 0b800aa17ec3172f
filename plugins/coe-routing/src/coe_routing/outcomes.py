"""Outcomes of routed turns, as the log tells them, whichever process recorded them."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from attrs import define, field
from loguru import logger

from coe_core.error import Conflict
from coe_core.identity import TurnId
from coe_core.record import Feedback, Interaction, Record
from coe_core.service import Clock, RecordReader
from coe_routing.tally import Expectation, Tally

EVERY_S = 2.0
"""How long what was recorded may go unnoticed, while anybody asks."""
REMEMBERED = 10_000
"""Of so many of the newest turns it is known how they were counted, so that feedback can revise
it."""
NOT_COUNTED = (
    *("options", "headers", "params", "passages", "passages_used", "prompts", "attempts"),
    *("exchange", "tool_runs", "answer", "exposures", "verdicts"),
)
"""Fields of a turn's record that say nothing of how its route did."""


@define(eq=False)
class Outcomes:
    """Counts what the log says of routed turns: those of the days before a start, and from then on
    all that any worker or machine records, feedback from the command line included.
    """

    tally: Tally
    reader: RecordReader
    clock: Clock
    lookback: timedelta
    _cursor: str | None = field(default=None, init=False)
    _counted: dict[TurnId, tuple[str, str, str, bool]] = field(factory=dict, init=False)
    _is_asked: bool = field(default=False, init=False)
    _reading: asyncio.Task[None] | None = field(default=None, init=False)

    async def open(self) -> None:
        """Begin to read the log; turns do not wait for it."""
        self._reading = asyncio.create_task(self._read())

    async def close(self) -> None:
        """Stop reading."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.wait([self._reading])

    def expect(self, group: str, name: str, model: str) -> Expectation:
        """Tell what the outcomes let expect of a model."""
        self._is_asked = True
        return self.tally.expect(group, name, model)

    async def catch_up(self) -> None:
        """Count what was recorded since the last time, at first that of the days before."""
        if self._cursor is None:
            cursor = await self.reader.end()
            await self._look_back()
            self._cursor = cursor
        try:
            async for stretch in self.reader.follow(self._cursor, without=NOT_COUNTED):
                for record in stretch.records:
                    self._add(record)
                self._cursor = stretch.cursor
        except Conflict:  # Another log than before: a backup was restored.
            self._cursor = await self.reader.end()

    async def _look_back(self) -> None:
        if self.lookback:
            since = self.clock.now() - self.lookback
            async for turn in self.reader.interactions(None, since=since):
                self._count(turn)
            async for feedback in self.reader.feedback(None, since=since):
                self._revise(feedback)

    async def _read(self) -> None:
        while True:
            if self._cursor is None or self._is_asked:  # Where nobody asks, nobody pays.
                self._is_asked = False
                try:
                    await self.catch_up()
                except Exception as error:
                    logger.opt(exception=error).error("the outcomes of turns could not be read")
            await self.clock.sleep(EVERY_S)

    def _add(self, record: Record) -> None:
        match record:
            case Interaction():
                self._count(record)
            case Feedback():
                self._revise(record)
            case _:
                pass

    def _count(self, turn: Interaction) -> None:
        route, good = turn.route, _is_good(turn)
        if route is None or route.model is None or good is None or turn.id in self._counted:
            return
        counted = (turn.group, route.name, route.model, good)
        self._counted[turn.id] = counted
        if len(self._counted) > REMEMBERED:
            del self._counted[next(iter(self._counted))]
        self.tally.add(*counted[:3], good=good)

    def _revise(self, feedback: Feedback) -> None:
        """Count a turn anew that somebody found good or bad."""
        good = _said(feedback)
        counted = self._counted.get(feedback.turn_id)
        if good is None or counted is None or counted[3] == good or counted[0] != feedback.group:
            return
        self.tally.add(*counted[:3], good=not good, weight=-1.0)
        self.tally.add(*counted[:3], good=good)
        self._counted[feedback.turn_id] = (*counted[:3], good)


def _is_good(turn: Interaction) -> bool | None:
    """Whether the routed model did its work; None when the turn says nothing of that."""
    outcome = turn.outcome
    if outcome.status == "success":
        return outcome.failure is None
    if outcome.status == "failed" and outcome.failure in ("target_error", "timeout", "wrong_route"):
        return False
    return None


def _said(feedback: Feedback) -> bool | None:
    if feedback.rating:
        return feedback.rating > 0
    return None
