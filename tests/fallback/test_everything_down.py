"""With every upstream down, the bundled model answers where the settings and the group let it."""

from typing import Any

import pytest
from coe_fallback.plugin import FallbackPlugin
from coe_server.citation import remarks

from coe_core import AUTO, hookimpl, user
from coe_core.access import GroupName, Principal
from coe_core.admission import Ask
from coe_core.answer import collect
from coe_core.engine import run
from coe_core.error import UpstreamUnreachable
from coe_core.request import ChatRequest
from coe_core.testing import ScriptedProvider, deployment
from coe_core.testing.scripted import Fault

SETTINGS = """
[routing]
default = "main"
fallbacks = { main = ["spare"] }
[groups.far]
models = ["main", "spare"]
[plugins.fallback]
local = "bundled"
retries = 0
"""


class Models:
    """Two upstreams that are down, and the model of this machine."""

    @hookimpl
    def coe_model_providers(self, ctx: Any) -> list[Any]:
        down = [Fault(error=UpstreamUnreachable("down"))] * 9
        upstreams = [ScriptedProvider(name=name, schedule=down) for name in ("main", "spare")]
        return [*upstreams, ScriptedProvider(answers=("from this machine",), name="bundled")]


PLUGINS = {"fallback": FallbackPlugin, "models": Models}


def ask(group: str, *, stream: bool) -> Ask:
    request = ChatRequest(model=AUTO, messages=(user("Hello"),), stream=stream)
    return Ask(request=request, principal=Principal(group=GroupName(group)))


@pytest.mark.parametrize("stream", [True, False])
async def test_the_bundled_model_answers_and_the_record_says_so(*, stream: bool) -> None:
    async with deployment(SETTINGS, plugins=PLUGINS) as host:
        answer = await collect(run(host.application, ask("near", stream=stream)))
    assert [message.text for message in answer.messages] == ["from this machine"]
    assert remarks(answer.ended) == {"coe": {"fallback": "bundled"}}
    record = answer.ended.record
    assert record.route is not None
    assert (record.route.target, record.outcome.failure) == ("main", "fallback_used")
    assert [attempt.model for attempt in record.attempts] == ["main", "spare", "bundled"]


async def test_a_group_that_may_not_use_it_gets_the_error() -> None:
    async with deployment(SETTINGS, plugins=PLUGINS) as host:
        with pytest.raises(UpstreamUnreachable):
            await collect(run(host.application, ask("far", stream=True)))
