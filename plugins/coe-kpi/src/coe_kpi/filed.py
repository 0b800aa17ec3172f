"""The rules of the file as components, so that `/readyz` shows which of their alerts hold."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from attrs import frozen

from coe_core.codec import structure
from coe_core.contract import Alert
from coe_core.service import StateStore
from coe_kpi.standing import Board

BOARD = "alerts/board"
"""Where the state store has the alerts as they were evaluated last."""


@frozen
class FiledRule:
    """Says what the last round found; the round itself does not ask it."""

    name: str
    _store: StateStore

    async def evaluate(self, now: datetime) -> Sequence[Alert]:
        board = await read_board(self._store)
        return [alert for alert in board.firing if alert.rule == self.name]


async def read_board(store: StateStore) -> Board:
    """Read how the alerts stand."""
    board: Board = structure((await store.get(BOARD)).value or {}, Board)
    return board
