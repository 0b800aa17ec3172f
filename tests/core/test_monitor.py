"""Monitors and alert rules are asked all at once, and none spoils what the others say."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from attrs import frozen

from coe_core import Alert, Sample, monitor

from .conftest import StartHost, contributing

NOW = datetime(2026, 11, 22, tzinfo=UTC)
SAMPLE = Sample(metric="coe_queue_turns", value=3, at=NOW)
ALERT = Alert(key="q", rule="well", severity="info", text="x", playbook="q.md", at=NOW)


@frozen
class Answering:
    """A monitor and an alert rule in one."""

    name: str
    answer: Any

    async def measure(self) -> Sequence[Sample]:
        return await self._said()

    async def evaluate(self, now: datetime) -> Sequence[Alert]:
        return await self._said()

    async def _said(self) -> Any:
        if isinstance(self.answer, Exception):
            raise self.answer
        if self.answer is None:
            await asyncio.Event().wait()
        return self.answer


def answering(value: Any) -> list[Answering]:
    return [
        Answering("well", [value]),
        Answering("raises", LookupError("x")),
        Answering("hangs", None),
    ]


@pytest.fixture(autouse=True)
def impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monitor, "PATIENCE_S", 0.05)


async def test_a_monitor_that_raises_or_hangs_is_passed_over(start_host: StartHost) -> None:
    host = await start_host("", contributing("watching", monitors=answering(SAMPLE)))
    assert await monitor.measure(host.application) == [SAMPLE]


async def test_of_a_rule_that_does_not_answer_nobody_knows(start_host: StartHost) -> None:
    host = await start_host("", contributing("watching", alert_rules=answering(ALERT)))
    held = await monitor.evaluate(host.application, NOW)
    assert held == {"well": [ALERT], "raises": None, "hangs": None}
