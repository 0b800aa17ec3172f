"""A round of alerts: what is measured, which rules hold, who is told. One worker makes it."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from attrs import frozen
from loguru import logger

from coe_core.application import Application
from coe_core.codec import structure, unstructure
from coe_core.contract import Alert, AlertSink
from coe_core.error import Conflict
from coe_core.message import Json
from coe_core.monitor import evaluate, measure
from coe_core.service import Clock, Deployment, StateStore
from coe_kpi.filed import BOARD, FiledRule
from coe_kpi.rule import Rule
from coe_kpi.standing import Board, Silence

SILENCES = "alerts/silences/"
PATIENCE_S = 20.0
"""How long a sink may take; it is asked again in the next round."""


@frozen
class AlertRound:
    """A `Job`, which finds rules and sinks in whatever application is in force."""

    _deployment: Deployment
    _clock: Clock
    _store: StateStore
    rules: tuple[Rule, ...]
    every: timedelta
    name: str = "alerts"

    async def run(self) -> Json:
        """Evaluate every rule, and tell whoever does not know yet."""
        async with self._deployment.lease() as application:
            found = await self._store.get(BOARD)
            before: Board = structure(found.value or {}, Board)
            board = await self._advanced(application, before)
            board = await self._told(application, board)
            if board != before:
                try:
                    await self._store.put(BOARD, unstructure(board), expect=found.version)
                except Conflict:
                    logger.warning("another worker has evaluated the alerts meanwhile")
            return {"firing": [alert.key for alert in board.firing]}

    async def _advanced(self, application: Application, before: Board) -> Board:
        now = self._clock.now()
        samples = await measure(application)
        ours = [rule for rule in self.rules if rule.plugin is None]
        held = {rule.name: rule.held(samples) for rule in ours}
        others = await evaluate(application, now, apart_from=FiledRule)
        return before.advance(now, ours, held, others)

    async def _told(self, application: Application, board: Board) -> Board:
        now = self._clock.now()
        sinks = {sink.name: sink for sink in application.alert_sinks}
        due = board.due([*sinks], await silences(self._store), now)
        went = await asyncio.gather(*(_deliver(sinks[name], alert) for name, alert in due))
        for (name, alert), is_delivered in zip(due, went, strict=True):
            if is_delivered:
                board = board.delivered(name, alert)
        return board


async def silences(store: StateStore) -> list[Silence]:
    """Read the silences."""
    found = await store.list(SILENCES)
    return [structure(found[key].value, Silence) for key in sorted(found)]


async def _deliver(sink: AlertSink, alert: Alert) -> bool:
    try:
        async with asyncio.timeout(PATIENCE_S):
            await sink.deliver(alert)
    except Exception as error:
        about = logger.bind(sink=sink.name, key=alert.key)
        about.opt(exception=error).error("an alert is not delivered; it is tried again")
        return False
    return True
