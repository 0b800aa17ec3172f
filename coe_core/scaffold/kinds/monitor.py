"""Measure the memory that the server holds."""

import resource
from collections.abc import Sequence
from datetime import UTC, datetime

from attrs import frozen

from coe_core import Sample, hookimpl
from coe_core.compose import Context

KILOBYTE = 1024


@frozen
class ExampleMonitor:
    name: str = "example"

    async def measure(self) -> Sequence[Sample]:
        peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * KILOBYTE
        now = datetime.now(UTC)
        return [Sample(metric="coe_example_peak_bytes", value=peak_bytes, at=now)]


@frozen
class ExamplePlugin:
    @hookimpl
    def coe_monitors(self, ctx: Context) -> list[ExampleMonitor]:
        return [ExampleMonitor()]
