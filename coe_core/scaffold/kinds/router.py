"""Route requests that mention a keyword."""

from attrs import field, frozen

from coe_core import Route, Turn, hookimpl
from coe_core.compose import Context


@frozen(kw_only=True)
class Settings:
    rules: dict[str, str] = field(factory=dict)
    """Keyword to model alias; keywords match in any case."""


@frozen
class ExampleRouter:
    rules: dict[str, str] = field(factory=lambda: {"invoice": "large"})
    name: str = "example"

    async def route(self, turn: Turn) -> Route | None:
        text = turn.request.text.casefold()
        for keyword, model in self.rules.items():
            if keyword.casefold() in text:
                return Route(model=model, confidence=1.0, reason=f"it mentions {keyword!r}")
        return None


@frozen
class ExamplePlugin:
    settings: Settings

    @hookimpl
    def coe_routers(self, ctx: Context) -> list[ExampleRouter]:
        return [ExampleRouter(self.settings.rules)]
