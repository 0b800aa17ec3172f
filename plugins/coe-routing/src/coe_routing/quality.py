"""The router by cost and quality: the cheapest model that is good enough for the kind of request,
as recorded outcomes tell.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from decimal import Decimal

from attrs import define, field
from loguru import logger

from coe_core.identity import TurnId
from coe_core.record import Feedback, Interaction, Record
from coe_core.service import Clock, RecordReader
from coe_core.turn import Candidate, Route, Turn
from coe_routing.destination import Standing, ranked
from coe_routing.settings import QualityTable
from coe_routing.tally import Tally

REMEMBERED = 10_000
"""Of so many of the newest turns it is known how they were counted, so that feedback can revise
it."""


@define(eq=False)
class QualityRouter:
    """Ranks the models of a route, and decides among its own when nobody else did."""

    settings: QualityTable
    tally: Tally
    name: str = "quality"

    async def route(self, turn: Turn) -> Route | None:
        allowed = turn.application.allowed_models(turn.principal)
        models = [model for model in self.settings.models if model in allowed]
        if not models:
            return None
        standings = ranked(turn, models, "")
        return Route(
            model=standings[0].model,
            confidence=min(1.0, max(0.0, standings[0].score)),
            reason=standings[0].reason or "the first of [plugins.routing.quality] models",
            candidates=tuple(
                Candidate(target=s.model, score=s.score, reason=s.reason) for s in standings
            ),
        )

    def rank(self, turn: Turn, models: Sequence[str], name: str) -> list[Standing]:
        expected = {model: self.tally.expect(turn.group, name, model) for model in models}
        enough = max(each.mean for each in expected.values()) - self.settings.tolerance
        # What little is known may mislead: a cheaper model is given the benefit of the doubt.
        good = [m for m in models if expected[m].mean + expected[m].deviation >= enough]
        by_cost = sorted(good, key=lambda model: _cost(turn, model))
        rest = sorted(set(models) - set(good), key=lambda m: (-expected[m].mean, m))
        return [
            Standing(
                model=model,
                score=expected[model].mean,
                reason=f"{model} succeeds in {expected[model].mean:.0%} "
                f"of such turns ({expected[model].turns:.0f} recorded)",
            )
            for model in (*by_cost, *rest)
        ]

    async def abstention(self, turn: Turn) -> str:
        """Say why the router leaves a turn to the others."""
        return "[plugins.routing.quality] models names none that the group may use"


def _cost(turn: Turn, model: str) -> Decimal:
    """Compare costs by the price of as many tokens in as out; an unknown price is the highest."""
    known = turn.application.models.get(model)
    price = known.price if known is not None else None
    return price.input + price.output if price is not None else Decimal("Infinity")


@define(eq=False)
class OutcomeSink:
    """Counts the outcomes of turns as they are recorded, and those of the days before a start."""

    tally: Tally
    reader: RecordReader
    clock: Clock
    lookback: timedelta
    name: str = "outcomes"
    _counted: dict[TurnId, tuple[str, str, str, bool]] = field(factory=dict, init=False)
    _reading: asyncio.Task[None] | None = field(default=None, init=False)

    async def open(self) -> None:
        """Begin to read the log; turns do not wait for it."""
        if self.lookback:
            self._reading = asyncio.create_task(self._look_back())

    async def close(self) -> None:
        """Stop reading."""
        if self._reading is not None:
            self._reading.cancel()
            with suppress(asyncio.CancelledError):
                await self._reading

    async def receive(self, record: Record) -> None:
        match record:
            case Interaction():
                self._count(record)
            case Feedback():
                self._revise(record)
            case _:
                pass

    async def _look_back(self) -> None:
        now = self.clock.now()
        try:
            async for turn in self.reader.interactions(None, since=now - self.lookback, until=now):
                self._count(turn)
            async for feedback in self.reader.feedback(None, since=now - self.lookback):
                self._revise(feedback)
        except Exception as error:
            logger.opt(exception=error).error("the outcomes of earlier turns could not be read")

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
