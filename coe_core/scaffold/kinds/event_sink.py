"""Log a line for every turn that failed."""

from attrs import frozen
from loguru import logger

from coe_core import Interaction, hookimpl
from coe_core.compose import Context
from coe_core.record import Record


@frozen
class ExampleEventSink:
    name: str = "example"

    async def receive(self, record: Record) -> None:
        match record:
            case Interaction(outcome=outcome) if outcome.status == "failed":
                told = {"turn": record.id, "group": record.group, "code": outcome.error_code}
                logger.bind(**told).warning("a turn failed")
            case _:
                return


@frozen
class ExamplePlugin:
    @hookimpl
    def coe_event_sinks(self, ctx: Context) -> list[ExampleEventSink]:
        return [ExampleEventSink()]
