"""Answer by asking a model twice: for a draft, and for a better one."""

from collections.abc import AsyncIterator

from attrs import evolve, frozen

from coe_core import Caller, Chunk, Turn, assistant, hookimpl, user
from coe_core.compose import Context


@frozen(kw_only=True)
class Settings:
    model: str = "local"
    """The alias of the model that is asked."""


@frozen
class ExampleAgent:
    caller: Caller | None = None
    model: str = "local"
    name: str = "example"
    description: str = "Thinks twice: for questions whose answer must be right."

    async def work(self, turn: Turn) -> AsyncIterator[Chunk]:
        draft = await self._ask(turn, "Answer in one sentence.")
        better = await self._ask(turn, "Improve this answer.", draft)
        yield Chunk(content=better or "I have no model to ask.", finish_reason="stop")

    async def _ask(self, turn: Turn, task: str, draft: str = "") -> str:
        if self.caller is None or self.model not in turn.application.models:
            return draft
        said = (user(turn.request.text), *([assistant(draft)] if draft else []), user(task))
        request = evolve(turn.request, model=self.model, messages=said, stream=False, n=None)
        answer = self.caller.complete(self.model, request, purpose="chat", parent=turn)
        return "".join([chunk.content async for chunk in answer])


@frozen
class ExamplePlugin:
    settings: Settings

    @hookimpl
    def coe_agents(self, ctx: Context) -> list[ExampleAgent]:
        return [ExampleAgent(ctx.need(Caller), self.settings.model)]
