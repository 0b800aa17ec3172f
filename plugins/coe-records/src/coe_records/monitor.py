"""What the records measure of themselves, and what of it an operator must know."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Literal

from attrs import define, field, frozen
from loguru import logger

from coe_core.contract import Alert, Sample
from coe_core.error import Unavailable
from coe_core.service import Clock, StateStore
from coe_records.batch import BatchBook
from coe_records.records import Records
from coe_records.window import Window

if TYPE_CHECKING:
    from coe_records.probe import Probe

NO_LABELS: dict[str, str] = {}
QUANTILES = (0.5, 0.95, 0.99)
LAG_S = 60.0
"""A database that has not had for so long what the log has will not catch up by itself."""


@define(eq=False)
class RecordsMonitor:
    """Measures the journal of this process, and log and database of all."""

    records: Records
    _clock: Clock
    _store: StateStore
    _every_s: float
    name: str = "records"
    probe: Probe = field(init=False)
    trouble: str | None = field(default=None, init=False)
    """Why log and database cannot be looked at."""
    _looking: asyncio.Task[None] | None = field(default=None, init=False)

    async def open(self) -> None:
        """Begin to look at log and database, now and then."""
        from coe_records.probe import Probe  # SQLAlchemy is heavy

        self.probe = Probe(self.records.log)
        self._looking = asyncio.create_task(self._look())

    async def close(self) -> None:
        """Look no more."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait([self._looking])

    @property
    def lag_s(self) -> float:
        """For how long the database has not had what the log has."""
        return self.probe.lag_s(self._clock.monotonic_s())

    async def measure(self) -> Sequence[Sample]:
        now = self._clock.now()
        failed = await BatchBook(self._store, self._clock).failed()
        batches = ("records_failed_batches", len(failed), NO_LABELS)
        return [
            Sample(metric=f"coe_{name}", value=value, at=now, labels=labels)
            for name, value, labels in (*self._journal(), *self._sync(), batches)
        ]

    def _journal(self) -> Iterator[tuple[str, float, dict[str, str]]]:
        journal = self.records.journal
        yield "journal_queue_turns", journal.queue_turns, {}
        yield "journal_oldest_waiting_seconds", journal.oldest_waiting_s, {}
        yield "journal_refusing", journal.refusal is not None, {}
        yield from _quantiles("journal_commit_seconds", journal.commits)
        yield from _quantiles("journal_fsync_seconds", self.records.syncs)

    def _sync(self) -> Iterator[tuple[str, float, dict[str, str]]]:
        found = [*self.probe.faults.values()]
        yield "records_sync_lag_bytes", self.probe.lag_bytes, {}
        yield "records_sync_lag_records", self.probe.lag_records, {}
        yield "records_sync_lag_seconds", self.lag_s, {}
        yield "records_spot_checks_total", self.probe.checked, {}
        yield "records_missing", found.count("missing"), {}
        yield "records_bad_pointers", found.count("bad_pointer"), {}
        yield "records_unreadable", self.trouble is not None, {}

    async def _look(self) -> None:
        while True:
            try:
                await self.records.journal.try_again()
                await self.records.look(self.probe)
                self.trouble = None
            except Unavailable as error:
                self.trouble = error.message
            except Exception as error:
                self.trouble = f"{type(error).__name__}: {error}"
                logger.opt(exception=error).error("log and database cannot be looked at")
            await self._clock.sleep(self._every_s)


def _quantiles(name: str, window: Window) -> Iterator[tuple[str, float, dict[str, str]]]:
    for quantile, value in window.quantiles(*QUANTILES).items():
        yield name, value, {"quantile": f"{quantile:g}"}


@frozen
class RecordsRule:
    """Fires while there is something to say."""

    name: str
    severity: Literal["warning", "critical"]
    playbook: str
    text_ko: str
    _monitor: RecordsMonitor
    _say: Callable[[RecordsMonitor], str | None]

    async def evaluate(self, now: datetime) -> Sequence[Alert]:
        text = self._say(self._monitor)
        if text is None:
            return []
        return [
            Alert(
                key=self.name,
                rule=self.name,
                severity=self.severity,
                text=text,
                said={"ko": self.text_ko},
                playbook=f"docs/playbooks/{self.playbook}.md",
                pages={"ko": f"docs/playbooks/{self.playbook}.ko.md"},
                at=now,
            )
        ]


REFUSING = "기록할 수 없어 턴을 거부하고 있습니다"
UNREADABLE = "로그와 데이터베이스를 살펴볼 수 없습니다"
LAGGING = "로그에 있는 것이 1분 넘게 데이터베이스에 없습니다"
DAMAGED = "레코드가 데이터베이스에 없거나, 데이터베이스가 가리키는 곳에 없습니다"


def rules(monitor: RecordsMonitor) -> list[RecordsRule]:
    """Return the rules over what the monitor sees."""
    return [
        RecordsRule("records-refusing", "critical", "full-disk", REFUSING, monitor, _refusing),
        RecordsRule(
            "records-unreadable", "critical", "lost-database", UNREADABLE, monitor, _unreadable
        ),
        RecordsRule("records-sync-lag", "warning", "sync-lag", LAGGING, monitor, _lagging),
        RecordsRule("records-damaged", "critical", "torn-log", DAMAGED, monitor, _damaged),
    ]


def _refusing(monitor: RecordsMonitor) -> str | None:
    reason = monitor.records.journal.refusal
    return reason and f"turns are refused: {reason}"


def _unreadable(monitor: RecordsMonitor) -> str | None:
    return monitor.trouble and f"log and database cannot be looked at: {monitor.trouble}"


def _lagging(monitor: RecordsMonitor) -> str | None:
    probe, lag_s = monitor.probe, monitor.lag_s
    if lag_s < LAG_S:
        return None
    return (
        f"for {lag_s:.0f} s the database has not had {probe.lag_records} records "
        f"({probe.lag_bytes} bytes) that the log has"
    )


def _damaged(monitor: RecordsMonitor) -> str | None:
    faults = monitor.probe.faults
    if not faults:
        return None
    (spot, fault), *others = faults.items()
    more = f", and {len(others)} more" if others else ""
    what = "is not in the database" if fault == "missing" else "cannot be read at its pointer"
    return f"{spot} {what}{more}; `coe records verify` lists all"
