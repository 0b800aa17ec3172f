"""The laws of agents and of the protocols between them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

from attrs import frozen
from hypothesis import strategies as st

from coe_core.contract import Agent, AgentProtocol
from coe_core.model import Chunk
from coe_core.testing.contracts.answer import check_calls, check_end, leave_early, whole
from coe_core.testing.contracts.component import (
    ComponentContract,
    survives_cancellation,
    untouched,
)
from coe_core.testing.contracts.law import law
from coe_core.testing.strategies import turns
from coe_core.turn import Turn


class AgentContract(ComponentContract[Agent]):
    """What holds of every agent."""

    contract = Agent

    @law()
    async def test_says_what_it_is_for(self, agent: Agent) -> None:
        """Routers choose an agent by its description."""
        assert agent.description.strip(), "description is empty; routers choose by it"

    @law(turn=turns())
    async def test_answers_whole_or_says_why_not(self, agent: Agent, turn: Turn) -> None:
        """Any turn gets an answer that ends with a finish reason, or one of our errors."""
        chunks = await whole(agent.work(turn))
        if chunks is not None:
            check_end([chunk for chunk in chunks if chunk.index == 0], 1)
            check_calls(chunks)

    @law(turn=turns())
    async def test_leaves_the_turn_alone(self, agent: Agent, turn: Turn) -> None:
        """An agent reads the turn; what it asks for itself are child turns."""
        with untouched(turn):
            await whole(agent.work(turn))

    @law(turn=turns())
    async def test_stops_when_it_is_left(self, agent: Agent, turn: Turn) -> None:
        """Closing an answer ends the work at once."""
        await leave_early(agent.work(turn))

    @law(turn=turns(), steps=st.integers(0, 5))
    async def test_lets_itself_be_cancelled(self, agent: Agent, turn: Turn, steps: int) -> None:
        """A client that goes away cancels the work."""
        await survives_cancellation(whole(agent.work(turn)), steps)


@frozen
class Worker:
    """An agent to be given a task."""

    name: str
    description: str = "Does what it is told."

    async def work(self, turn: Turn) -> AsyncIterator[Chunk]:
        """Say that it is done."""
        yield Chunk(content="done", finish_reason="stop")


class AgentProtocolContract(ComponentContract[AgentProtocol]):
    """What holds of every protocol by which agents agree."""

    contract = AgentProtocol

    @law(turn=turns(), count=st.integers(0, 3))
    async def test_gives_tasks_to_those_present(
        self, protocol: AgentProtocol, turn: Turn, count: int
    ) -> None:
        """Tasks are texts, for agents that were there; no agents, no tasks."""
        agents = [Worker(f"agent-{number}") for number in range(count)]
        tasks = await protocol.negotiate(turn, agents)
        assert isinstance(tasks, Mapping), f"negotiate() returned {tasks!r}; return name to task"
        strangers = tasks.keys() - {agent.name for agent in agents}
        assert not strangers, f"{sorted(strangers)} got a task but were not asked"
        empty = [name for name, task in tasks.items() if not task.strip()]
        assert not empty, f"{empty} got an empty task; leave out who has nothing to do"

    @law(turn=turns())
    async def test_leaves_the_turn_alone(self, protocol: AgentProtocol, turn: Turn) -> None:
        """A protocol reads the turn and changes nothing in it."""
        with untouched(turn):
            await protocol.negotiate(turn, [Worker("one"), Worker("two")])

    @law(turn=turns(), steps=st.integers(0, 3))
    async def test_lets_itself_be_cancelled(
        self, protocol: AgentProtocol, turn: Turn, steps: int
    ) -> None:
        """A client that goes away cancels the negotiation."""
        await survives_cancellation(protocol.negotiate(turn, [Worker("one")]), steps)
