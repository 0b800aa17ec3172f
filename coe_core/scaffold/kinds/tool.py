"""Let models count the words of a text."""

from collections.abc import Mapping
from typing import Any

from attrs import frozen

from coe_core import ToolContext, hookimpl
from coe_core.compose import Context
from coe_core.error import ToolFailed


@frozen(kw_only=True)
class Settings:
    longest: int = 100_000
    """Longer texts are refused; in characters."""


@frozen
class ExampleTool:
    longest: int = 100_000
    name: str = "example"
    description: str = "Count the words of a text."
    effects = frozenset({"none"})

    @property
    def input_schema(self) -> Mapping[str, Any]:
        return {
            "type": "object",
            "properties": {"text": {"type": "string"}},
            "required": ["text"],
            "additionalProperties": False,
        }

    @property
    def output_schema(self) -> Mapping[str, Any]:
        return {
            "type": "object",
            "properties": {"words": {"type": "integer", "minimum": 0}},
            "required": ["words"],
        }

    async def call(self, arguments: Any, context: ToolContext) -> Any:
        if len(arguments["text"]) > self.longest:
            raise ToolFailed(f"the text is longer than {self.longest} characters; send a part")
        return {"words": len(arguments["text"].split())}


@frozen
class ExamplePlugin:
    settings: Settings

    @hookimpl
    def coe_tools(self, ctx: Context) -> list[ExampleTool]:
        return [ExampleTool(self.settings.longest)]
