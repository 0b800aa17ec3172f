"""Every part of ours that a plugin provides, failing, hanging or returning garbage at every step,
with `fallback_to_openai` on: every request is answered, by the client's own request.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Sequence
from typing import Any

import pytest
from attrs import define, field, frozen
from coe_fallback.plugin import FallbackPlugin

from coe_core import AUTO, Chunk, Model, Route, Turn, hookimpl, user
from coe_core.access import LOCAL
from coe_core.admission import Ask
from coe_core.answer import AnswerBuilder
from coe_core.engine import run
from coe_core.event import Delta, TurnEnded
from coe_core.model import FREE, ToolCallDelta
from coe_core.request import ChatRequest
from coe_core.service import Service, SessionStore
from coe_core.testing import ScriptedProvider, deployment

SETTINGS = """
[coe]
component_timeout_s = 0.2
[routing]
default = "main"
[plugins.fallback]
openai = "rescue"
fallback_to_openai = true
request_timeout_s = 0.2
retries = 0
"""


class OutOfOrder(Exception):
    """What a plugin of ours raises."""


Step = Callable[[], Any]


def raises() -> Any:
    raise OutOfOrder


class Hanging:
    """What is awaited for ever, and is garbage where nobody awaits it."""

    def __await__(self) -> Generator[Any, None, None]:
        return asyncio.get_running_loop().create_future().__await__()


async def done(step: Step) -> Any:
    """Take a step, waiting for it where it is one that lasts."""
    return await came if isinstance(came := step(), Awaitable) else came


STEPS: dict[str, Step] = {
    "raises": raises,
    "hangs": Hanging,
    "garbage": object,
    "text": lambda: "not what was asked for",
    "number": lambda: 7,
    "nothing": lambda: None,
    "list of garbage": lambda: [object()],
}


@frozen
class Router:
    step: Step
    name: str = "broken"

    async def route(self, turn: Turn) -> Any:
        return await done(self.step)


@frozen
class Retriever:
    step: Step
    name: str = "broken"

    async def retrieve(self, turn: Turn, layers: tuple[str, ...]) -> Any:
        return await done(self.step)


@frozen
class PromptPack:
    step: Step
    name: str = "broken"
    version: str = "1"

    def system(self, turn: Turn, *, light: bool) -> Any:
        return self.step()

    def tool_guide(self, turn: Turn, tool: Any, *, light: bool) -> Any:
        return self.step()


@frozen
class Tool:
    step: Step
    name: str = "broken"
    description: str = "is broken"
    input_schema = {"type": "object"}
    output_schema = {"type": "object"}
    effects = frozenset[Any]()

    async def call(self, arguments: Any, context: Any) -> Any:
        return await done(self.step)


@frozen
class Agent:
    step: Step
    after: int = 0
    name: str = "agent"
    description: str = "is broken"

    async def work(self, turn: Turn) -> AsyncIterator[Any]:
        for _ in range(self.after):
            yield Chunk(content="so far ")
        yield await done(self.step)


@frozen
class ToAgent:
    name: str = "to-agent"

    async def route(self, turn: Turn) -> Route:
        return Route(agent="agent")


@frozen
class Policy:
    step: Step
    name: str = "a broken one"

    def holds(self, turn: Turn) -> Any:
        return self.step()

    def instead(self, turn: Turn, model: str, fallbacks: tuple[str, ...]) -> Any:
        return self.step()

    async def note(self, turn: Turn, attempt: Any, error: Any) -> Any:
        return await done(self.step)

    async def after_failure(self, turn: Turn, failure: Any) -> Any:
        return await done(self.step)

    async def last_resort(self, turn: Turn, failure: Any) -> Any:
        return await done(self.step)


@frozen
class Sink:
    step: Step
    name: str = "broken"

    async def receive(self, record: Any) -> Any:
        return await done(self.step)


@frozen
class Experiment:
    step: Step
    name: str = "broken"

    def assign(self, turn_id: Any, session_id: str, group: str) -> Any:
        return self.step()


@frozen
class Sessions:
    step: Step

    async def head(self, group: str, session_id: Any) -> Any:
        return await done(self.step)

    async def find(self, group: str, conversation: str) -> Any:
        return await done(self.step)

    async def history(self, group: str, turn_id: Any, *, limit: int) -> Any:
        return await done(self.step)


@define
class Provider:
    """Has `main`, which fails after some words, or calls a tool first where there is one."""

    step: Step
    after: int = 0
    calls_tool: bool = False
    fails: bool = True
    name: str = "main"
    options: type[Any] = type("Options", (), {})
    asked: int = field(default=0, init=False)

    def models(self) -> Sequence[Model]:
        return [Model(alias="main", provider="main", name="main", price=FREE)]

    def describe(self, model: Model) -> Model:
        return model

    async def complete(self, model: Model, request: ChatRequest, *, group: str) -> Any:
        self.asked += 1
        if self.calls_tool and self.asked == 1:
            call = ToolCallDelta(index=0, id="c", name="broken", arguments="{}")
            yield Chunk(tool_calls=(call,), finish_reason="tool_calls")
            return
        for _ in range(self.after):
            yield Chunk(content="so far ")
        if self.fails:
            yield await done(self.step)
        yield Chunk(content="fine", finish_reason="stop")

    async def embed(self, model: Model, request: Any, *, group: str) -> Any:
        return await done(self.step)


Parts = dict[str, Any]


def sound(step: Step, **more: Any) -> Provider:
    return Provider(step, fails=False, **more)


BROKEN: dict[str, Callable[[Step], Parts]] = {
    "router": lambda s: {"routers": [Router(s)], "model_providers": [sound(s)]},
    "retriever": lambda s: {"retrievers": [Retriever(s)], "model_providers": [sound(s)]},
    "prompt pack": lambda s: {
        "prompt_packs": [PromptPack(s)],
        "tools": [Tool(s)],
        "model_providers": [sound(s)],
    },
    "tool": lambda s: {"tools": [Tool(s)], "model_providers": [sound(s, calls_tool=True)]},
    "agent": lambda s: {
        "agents": [Agent(s)],
        "routers": [ToAgent()],
        "model_providers": [sound(s)],
    },
    "agent amid its answer": lambda s: {
        "agents": [Agent(s, 2)],
        "routers": [ToAgent()],
        "model_providers": [sound(s)],
    },
    "provider": lambda s: {"model_providers": [Provider(s)]},
    "provider amid its answer": lambda s: {"model_providers": [Provider(s, 3)]},
    "attempt policy": lambda s: {
        "attempt_policies": [Policy(s)],
        "model_providers": [Provider(raises, 1)],
    },
    "event sink": lambda s: {"event_sinks": [Sink(s)], "model_providers": [sound(s)]},
    "experiment": lambda s: {"experiments": [Experiment(s)], "model_providers": [sound(s)]},
    "session store": lambda s: {
        "services": [Service(contract=SessionStore, provider=Sessions(s))],
        "model_providers": [sound(s)],
    },
    "everything": lambda s: {
        "routers": [Router(s)],
        "retrievers": [Retriever(s)],
        "prompt_packs": [PromptPack(s)],
        "tools": [Tool(s)],
        "model_providers": [Provider(s, 1)],
        "attempt_policies": [Policy(s)],
        "event_sinks": [Sink(s)],
        "experiments": [Experiment(s)],
        "services": [Service(contract=SessionStore, provider=Sessions(s))],
    },
}


def contributing(parts: Parts) -> type[Any]:
    """Make a plugin of the broken parts."""

    def hook(kind: str) -> Any:
        def contribute(self: Any, ctx: Any) -> Any:
            return parts[kind]

        contribute.__name__ = f"coe_{kind}"
        return hookimpl(contribute)

    return type("Broken", (), {f"coe_{kind}": hook(kind) for kind in parts})


def rescuing(provider: ScriptedProvider) -> type[Any]:
    class Rescue:
        @hookimpl
        def coe_model_providers(self, ctx: Any) -> list[Any]:
            return [provider]

    return Rescue


WAYS = [(policy, stream) for policy in ("continue", "restart", "hold") for stream in (True, False)]


@pytest.mark.parametrize(
    ("policy", "stream"),
    [WAYS[0], *(pytest.param(*way, marks=pytest.mark.faults) for way in WAYS[1:])],
)
@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("part", BROKEN)
async def test_every_request_is_answered(
    part: str, step: str, policy: str, tally: Counter[str], *, stream: bool
) -> None:
    rescue = ScriptedProvider(answers=("a whole answer",), name="rescue")
    plugins = {
        "fallback": FallbackPlugin,
        "broken": contributing(BROKEN[part](STEPS[step])),
        "rescue": rescuing(rescue),
    }
    messages = (user("Hello"),)
    request = ChatRequest(model=AUTO, messages=messages, stream=stream)
    ask = Ask(request=request, principal=LOCAL, params={"fallback_policy": policy})
    async with deployment(SETTINGS, plugins=plugins) as host:
        events = [event async for event in run(host.application, ask)]
    ended = events[-1]
    assert isinstance(ended, TurnEnded), ended
    seen = AnswerBuilder()
    for event in events:
        if isinstance(event, Delta):
            seen.add(event.chunk)
    if not rescue.requests:
        # What failed was optional, and passed over: the routed target has answered.
        assert ended.record.outcome.failure is None
        assert seen.text.replace("so far ", "") in ("fine", "not what was asked for")
        tally[f"answered, the {part} passed over"] += 1
        return
    assert seen.text.replace("so far ", "") == "a whole answer"
    assert ended.record.outcome.failure == "fallback_used"
    assert ended.record.outcome.error_code
    sent = rescue.requests[-1]
    assert sent.messages[:1] == messages
    assert (len(sent.messages) > 1) == ("so far " in seen.text)
    tally[f"answered by the last resort, the {part} broken"] += 1
