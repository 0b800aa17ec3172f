"""Count the turns of the last hour."""

from datetime import timedelta
from typing import Any

from attrs import frozen

from coe_core import Clock, RecordReader, hookimpl
from coe_core.compose import Context


@frozen(kw_only=True)
class Settings:
    hours: int = 1
    """How far to look back, and how often."""


@frozen
class ExampleJob:
    reader: RecordReader | None = None
    clock: Clock | None = None
    every: timedelta = timedelta(hours=1)
    name: str = "example"

    async def run(self) -> Any:
        if self.reader is None or self.clock is None:
            return {"turns": 0}
        since = self.clock.now() - self.every
        return {"turns": len([turn async for turn in self.reader.interactions(None, since=since)])}


@frozen
class ExamplePlugin:
    settings: Settings

    @hookimpl
    def coe_jobs(self, ctx: Context) -> list[ExampleJob]:
        every = timedelta(hours=self.settings.hours)
        return [ExampleJob(ctx.need(RecordReader), ctx.need(Clock), every)]
