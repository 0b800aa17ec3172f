"""Every fault of an upstream at every frame, streamed and not, under each policy: the client gets
the whole answer once, or, under `restart` after the first piece, the documented error.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
from attrs import frozen
from coe_fallback.plugin import FallbackPlugin
from coe_models_openai.plugin import OpenAIPlugin

from coe_core import ChatRequest, Message, hookimpl
from coe_core.access import LOCAL
from coe_core.admission import Ask
from coe_core.answer import AnswerBuilder
from coe_core.application import Application
from coe_core.codec import structure
from coe_core.engine import run
from coe_core.error import UpstreamError
from coe_core.event import Delta, Event, TurnEnded, TurnFailed
from coe_core.record import Interaction
from coe_core.testing import deployment
from coe_core.testing.upstream import Received, Script, Upstream

from .case import ANSWERS, ARGUMENTS, Case, Policy, cases

AT_ONCE = 40
"""So many turns run side by side; as many cases share a deployment."""
HURRIED = "first_token_timeout_s = 0.6\nstall_timeout_s = 0.6\nrequest_timeout_s = 3\n"


@frozen
class Find:
    """The tool of ours."""

    name: str = "find"
    description: str = "Find a place."
    input_schema = {"type": "object", "required": ["place", "near"]}
    output_schema = {"type": "string"}
    effects = frozenset[Any]()

    async def call(self, arguments: Any, context: Any) -> str:
        return "open"


class Tools:
    @hookimpl
    def coe_tools(self, ctx: Any) -> list[Any]:
        return [Find()]


PLUGINS = {"openai": OpenAIPlugin, "fallback": FallbackPlugin, "tools": Tools}
POLICIES: tuple[Policy, ...] = ("continue", "restart", "hold")
SAMPLED = 23
"""CI runs one case of so many."""


def settings(chosen: Sequence[Case], root: str) -> str:
    """Give each case three targets of its own, so that no breaker of another is in its way."""
    text, chains = "", []
    for number, _ in enumerate(chosen):
        for target in ("first", "second", "third"):
            text += f'[models.{target}-{number}]\nprovider = "openai"\nmodel = "m"\n'
            text += f'base_url = "{root}/{number}/{target}/v1"\n'
            text += HURRIED if target == "first" else ""
        chains.append(f'first-{number} = ["second-{number}", "third-{number}"]')
    text += "[groups.default]\nenrich_explicit = true\n"
    return f'{text}[routing]\ndefault = "first-0"\nfallbacks = {{ {", ".join(chains)} }}\n'


async def check_all(chosen: Sequence[Case], tally: Counter[str]) -> None:
    for start in range(0, len(chosen), AT_ONCE):
        await check_some(chosen[start : start + AT_ONCE], tally)


async def check_some(chosen: Sequence[Case], tally: Counter[str]) -> None:
    def respond(asked: Received) -> Script:
        _, number, target, *_ = asked.path.split("/")
        return chosen[int(number)].respond(target, asked)

    async with Upstream(respond=respond) as upstream:
        text = settings(chosen, upstream.url.removesuffix("/v1"))
        async with deployment(text, plugins=PLUGINS) as host:
            assert host.application.problems == ()
            turns = (play(host.application, case, n) for n, case in enumerate(chosen))
            for case, events in zip(chosen, await asyncio.gather(*turns), strict=True):
                tally[judge(case, events)] += 1


async def play(application: Application, case: Case, number: int) -> list[Event]:
    asked = {
        "model": f"first-{number}",
        "messages": [
            {"role": "user", "content": "길을 알려줘" if case.answer.name == "korean" else "Go"}
        ],
        "stream": case.stream,
        **case.answer.request,
    }
    ask = Ask(
        request=structure(asked, ChatRequest),
        principal=LOCAL,
        params={"fallback_policy": case.policy},
    )
    return [event async for event in run(application, ask)]


def judge(case: Case, events: Sequence[Event]) -> str:
    """Say how a turn ended; anything that a client could hold against us is a failure."""
    seen = AnswerBuilder()
    for event in events:
        if isinstance(event, Delta):
            seen.add(event.chunk)
    said = seen.messages()[0] if seen.choices else Message(role="assistant", content="")
    if isinstance(failed := events[-1], TurnFailed):
        assert (case.policy, case.stream) == ("restart", True), f"truncated: {case}: {said!r}"
        assert isinstance(failed.error, UpstreamError), case
        assert said.text or said.tool_calls, f"nothing was seen, and it gave up: {case}"
        assert case.answer.text.startswith(said.text), f"doubled: {case}: {said.text!r}"
        return "ended by its error event, under restart"
    ended = events[-1]
    assert isinstance(ended, TurnEnded), case
    last = case.answer.after or case.answer
    assert said.text == last.text, f"doubled or truncated: {case}: {said.text!r}"
    calls = [(c.id, c.function.name, c.function.arguments) for c in said.tool_calls]
    assert calls == [("call_1", "find", ARGUMENTS)] * last.calls, case
    assert ended.finish_reasons == (last.finish_reason,), case
    assert ended.usage.total_tokens > 0, case
    assert ended.record.answer == (said,), case
    return f"whole, under {case.policy}{', '.join(_story(case, ended.record))}"


def _story(case: Case, record: Interaction) -> list[str]:
    """Check the ledger: every attempt is in it, and names the one that it goes on from."""
    attempts = record.attempts
    rounds = 1 + (case.answer.before is not None or case.answer.after is not None)
    assert len(record.tool_runs) == rounds - 1, case
    assert "failed" in [a.outcome for a in attempts], f"the fault was none: {case}"
    assert [a.outcome for a in attempts].count("ok") == rounds, case
    assert attempts[-1].outcome == "ok", case
    assert record.outcome.failure == "fallback_used", case
    for before, after in pairwise(attempts):
        assert after.continues in (None, before.id), case
    return ["", "continued" if any(a.continues for a in attempts) else "begun anew"]


@pytest.mark.faults
@pytest.mark.parametrize("stream", [True, False], ids=["stream", "plain"])
@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("answer", ANSWERS, ids=lambda answer: answer.name)
async def test_the_whole_matrix(
    answer: Any, policy: Policy, tally: Counter[str], *, stream: bool
) -> None:
    await check_all(list(cases(policy, stream=stream, answers=[answer])), tally)


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "plain"])
@pytest.mark.parametrize("policy", POLICIES)
async def test_a_sample(policy: Policy, tally: Counter[str], *, stream: bool) -> None:
    await check_all(list(cases(policy, stream=stream))[::SAMPLED], tally)
