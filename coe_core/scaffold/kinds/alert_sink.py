"""Write alerts to the log, each once."""

from attrs import define, field, frozen
from loguru import logger

from coe_core import Alert, hookimpl
from coe_core.compose import Context


@define
class ExampleAlertSink:
    name: str = "example"
    states: dict[str, bool] = field(factory=dict, init=False)
    """Key to whether it is resolved."""

    async def deliver(self, alert: Alert) -> None:
        if self.states.get(alert.key) is alert.resolved:
            return
        self.states[alert.key] = alert.resolved
        logger.bind(key=alert.key, resolved=alert.resolved).warning(alert.text)


@frozen
class ExamplePlugin:
    @hookimpl
    def coe_alert_sinks(self, ctx: Context) -> list[ExampleAlertSink]:
        return [ExampleAlertSink()]
