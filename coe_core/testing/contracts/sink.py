"""The laws of sinks: of events, metrics and alerts."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from coe_core.contract import Alert, AlertSink, EventSink, MetricSink, Sample
from coe_core.record import Record
from coe_core.testing.contracts.component import (
    ComponentContract,
    survives_cancellation,
    untouched,
)
from coe_core.testing.contracts.law import law
from coe_core.testing.strategies import alerts, records, samples


class EventSinkContract(ComponentContract[EventSink]):
    """What holds of every sink of records."""

    contract = EventSink

    @law(some=st.lists(records(), max_size=2))
    async def test_takes_every_kind_of_record(self, sink: EventSink, some: list[Record]) -> None:
        """Records of every kind, those of later versions included, are taken or passed over, and
        left alone.
        """
        with untouched(some):
            for record in some:
                await sink.receive(record)

    @law(record=records())
    async def test_takes_a_record_twice(self, sink: EventSink, record: Record) -> None:
        """A record may be sent again: the second time it does no harm."""
        await sink.receive(record)
        await sink.receive(record)

    @law(record=records(), steps=st.integers(0, 3))
    async def test_lets_itself_be_cancelled(
        self, sink: EventSink, record: Record, steps: int
    ) -> None:
        """A delivery that was cancelled may be tried again."""
        await survives_cancellation(sink.receive(record), steps)
        await sink.receive(record)


class MetricSinkContract(ComponentContract[MetricSink]):
    """What holds of every sink of samples."""

    contract = MetricSink

    @law(some=st.lists(samples(), max_size=3))
    async def test_takes_any_samples(self, sink: MetricSink, some: list[Sample]) -> None:
        """Samples of any metric, none at all, or the same again are taken and left alone."""
        with untouched(some):
            await sink.record(some)
            await sink.record(some)

    @law(some=st.lists(samples(), max_size=3), steps=st.integers(0, 3))
    async def test_lets_itself_be_cancelled(
        self, sink: MetricSink, some: list[Sample], steps: int
    ) -> None:
        """A server that shuts down cancels the delivery."""
        await survives_cancellation(sink.record(some), steps)


class AlertSinkContract(ComponentContract[AlertSink]):
    """What holds of every sink of alerts."""

    contract = AlertSink

    def delivered(self, sink: AlertSink) -> Any:
        """Override it to return what has arrived on the other side, a list of texts say: the
        suite then sees that nothing arrives twice.
        """
        return None

    @law(alert=alerts())
    async def test_delivers_once(self, sink: AlertSink, alert: Alert) -> None:
        """A second delivery with the same key and state changes nothing."""
        with untouched(alert):
            await sink.deliver(alert)
            first = _copied(self.delivered(sink))
            await sink.deliver(alert)
        assert self.delivered(sink) == first, (
            f"after a second delivery of {alert.key!r} there was {self.delivered(sink)!r}, after "
            f"the first {first!r}; remember key and `resolved`"
        )

    @law(alert=alerts(), steps=st.integers(0, 3))
    async def test_lets_itself_be_cancelled(
        self, sink: AlertSink, alert: Alert, steps: int
    ) -> None:
        """A delivery that was cancelled may be tried again."""
        await survives_cancellation(sink.deliver(alert), steps)
        await sink.deliver(alert)


def _copied(value: Any) -> Any:
    return list(value) if isinstance(value, list) else value
