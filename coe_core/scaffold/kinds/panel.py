"""Show the deployment's models in the console."""

from collections.abc import Mapping, Sequence

from attrs import field, frozen

from coe_core import Principal, hookimpl
from coe_core.compose import Context
from coe_core.panel import PanelItem, Stat, Table


@frozen
class ExamplePanel:
    aliases: Sequence[str] = ()
    name: str = "example"
    title: Mapping[str, str] = field(factory=lambda: {"en": "Models", "ko": "모델"})

    async def show(self, principal: Principal, query: Mapping[str, str]) -> Sequence[PanelItem]:
        rows = tuple((alias,) for alias in self.aliases)
        return [
            Stat(label="Configured", value=str(len(rows))),
            Table(columns=("Alias",), rows=rows),
        ]


@frozen
class ExamplePlugin:
    @hookimpl
    def coe_panels(self, ctx: Context) -> list[ExamplePanel]:
        return [ExamplePanel(tuple(ctx.settings.models))]
