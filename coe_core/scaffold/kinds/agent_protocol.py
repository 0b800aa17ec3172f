"""Give the whole question to the agent whose description is nearest to it."""

from collections.abc import Mapping, Sequence

from attrs import frozen

from coe_core import Agent, Turn, hookimpl
from coe_core.compose import Context


@frozen
class ExampleAgentProtocol:
    name: str = "example"

    async def negotiate(self, turn: Turn, agents: Sequence[Agent]) -> Mapping[str, str]:
        task = turn.request.text.strip()
        if not agents or not task:
            return {}
        words = set(task.casefold().split())
        nearest = max(agents, key=lambda a: len(words & set(a.description.casefold().split())))
        return {nearest.name: task}


@frozen
class ExamplePlugin:
    @hookimpl
    def coe_agent_protocols(self, ctx: Context) -> list[ExampleAgentProtocol]:
        return [ExampleAgentProtocol()]
