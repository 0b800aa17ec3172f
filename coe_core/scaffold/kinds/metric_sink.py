"""Keep the latest sample of each metric in a file."""

from collections.abc import Sequence
from pathlib import Path

from attrs import define, field, frozen

from coe_core import Sample, hookimpl
from coe_core.codec import encode
from coe_core.compose import Context


@define
class ExampleMetricSink:
    path: Path | None = None
    name: str = "example"
    latest: dict[str, Sample] = field(factory=dict, init=False)

    async def record(self, samples: Sequence[Sample]) -> None:
        self.latest |= {sample.metric: sample for sample in samples}

    async def close(self) -> None:
        if self.path is not None:
            self.path.write_bytes(encode(self.latest))


@frozen
class ExamplePlugin:
    @hookimpl
    def coe_metric_sinks(self, ctx: Context) -> list[ExampleMetricSink]:
        return [ExampleMetricSink(ctx.data_dir / "example.json")]
