"""Tell models how your company wants to be spoken for."""

from attrs import frozen

from coe_core import Tool, Turn, hookimpl
from coe_core.compose import Context

LIGHT = "Answer briefly, in the language of the question."
FULL = f"{LIGHT} Say so when you do not know. Quote figures with their source."


@frozen(kw_only=True)
class Settings:
    company: str = ""
    """The company's name, if the models should know it."""


@frozen
class ExamplePromptPack:
    company: str = ""
    name: str = "example"
    version: str = "1"

    def system(self, turn: Turn, *, light: bool) -> str | None:
        text = LIGHT if light else FULL
        return f"You speak for {self.company}. {text}" if self.company else text

    def tool_guide(self, turn: Turn, tool: Tool, *, light: bool) -> str | None:
        return None


@frozen
class ExamplePlugin:
    settings: Settings

    @hookimpl
    def coe_prompt_packs(self, ctx: Context) -> list[ExamplePromptPack]:
        return [ExamplePromptPack(self.settings.company)]
