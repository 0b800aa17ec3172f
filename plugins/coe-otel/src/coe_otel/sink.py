"""The sink: records in, spans and metrics out, sent in the background.

What the collector does not take is dropped after a while, and the log says so: telemetry never
holds up a turn, and what happened stands in the record.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict

from attrs import define, field
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from coe_core.record import Interaction, JobRun, Record
from coe_otel.meter import CallMeter
from coe_otel.names import Names
from coe_otel.settings import Settings
from coe_otel.span import Spans

REMEMBERED = 10_000
"""So many records are not taken a second time."""


@define(eq=False)
class OtelSink:
    settings: Settings
    endpoint: str
    name: str = "otel"
    _spans: Spans = field(init=False)
    _seen: OrderedDict[str, None] = field(factory=OrderedDict, init=False)
    _processor: BatchSpanProcessor | None = field(default=None, init=False)
    _provider: MeterProvider | None = field(default=None, init=False)
    _meter: CallMeter | None = field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        """Read the table of names."""
        resource = Resource.create({"service.name": self.settings.service_name})
        names = Names.of(self.settings.semconv)
        self._spans = Spans(names, resource, self.settings.content)

    async def open(self) -> None:
        settings = self.settings
        base = self.endpoint.rstrip("/")
        headers = {name: secret.reveal() for name, secret in settings.headers.items()}
        every_ms = 1000 * settings.export_s
        self._processor = BatchSpanProcessor(
            OTLPSpanExporter(f"{base}/v1/traces", headers=headers, timeout=settings.timeout_s),
            max_queue_size=settings.queue_spans,
            max_export_batch_size=min(512, settings.queue_spans),
            schedule_delay_millis=every_ms,
        )
        exporter = OTLPMetricExporter(
            f"{base}/v1/metrics", headers=headers, timeout=settings.timeout_s
        )
        reader = PeriodicExportingMetricReader(exporter, every_ms, 1000 * settings.timeout_s)
        self._provider = MeterProvider([reader], self._spans.resource, shutdown_on_exit=False)
        self._meter = CallMeter.of(self._spans.names, self._provider.get_meter("coe_otel"))

    async def close(self) -> None:
        """Send what is left, for as long as the collector may take."""
        for part in (self._processor, self._provider):
            if part is not None:
                await asyncio.to_thread(part.shutdown)
        self._processor = self._provider = self._meter = None

    async def receive(self, record: Record) -> None:
        if not isinstance(record, Interaction | JobRun) or not self._is_new(record.id):
            return
        if self._processor is None or self._meter is None:
            return
        for span in self._spans.of(record):
            self._processor.on_end(span)
        self._meter.count(record.attempts)

    def _is_new(self, record_id: str) -> bool:
        if record_id in self._seen:
            return False
        self._seen[record_id] = None
        if len(self._seen) > REMEMBERED:
            self._seen.popitem(last=False)
        return True
