"""Records arrive at a collector as the conventions have them, and harm nobody where they do not."""

import uuid
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from coe_otel.names import Names
from coe_otel.plugin import OtelPlugin
from coe_otel.settings import Settings
from coe_otel.sink import OtelSink
from coe_otel.span import Spans
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.sdk.resources import Resource
from opentelemetry.semconv._incubating.attributes import gen_ai_attributes
from opentelemetry.semconv._incubating.metrics import gen_ai_metrics

from coe_core import engine, hookimpl
from coe_core.access import LOCAL
from coe_core.admission import Ask
from coe_core.identity import AttemptId, SessionId, TurnId, uuid7
from coe_core.ledger import Attempt
from coe_core.message import assistant, user
from coe_core.model import Usage
from coe_core.record import Interaction, JobRun, Record
from coe_core.request import ChatRequest
from coe_core.testing import EventSinkContract, PluginContract, ScriptedProvider, deployment
from coe_core.testing.strategies.record import interactions, job_runs
from coe_core.turn import Outcome, Route, ToolRun

from .conftest import Collector, attributes

NOW = datetime(2026, 11, 27, 1, 0, tzinfo=UTC)
DEAD = "http://127.0.0.1:9"


class TestPlugin(PluginContract):
    name = "otel"
    settings = f'[plugins.otel]\nendpoint = "{DEAD}"\ntimeout_s = 0.05\n'

    def make(self) -> type[OtelPlugin]:
        return OtelPlugin


class TestSink(EventSinkContract):
    def make(self) -> OtelSink:
        return OtelSink(Settings(timeout_s=0.05), DEAD)


def attempt(**fields: Any) -> Attempt:
    told: dict[str, Any] = {
        "id": AttemptId(uuid7()),
        "purpose": "chat",
        "model": "small",
        "provider": "openai",
        "name": "gpt-4o-mini",
        "started_at": NOW + timedelta(seconds=1),
        "duration_s": 2.0,
        "first_token_s": 0.5,
        "usage": Usage(input_tokens=50, output_tokens=7, cached_input_tokens=20),
        "cost_usd": Decimal("0.0012"),
    }
    return Attempt(**(told | fields))


def turn(**fields: Any) -> Interaction:
    turn_id = TurnId(uuid7())
    told: dict[str, Any] = {
        "id": turn_id,
        "group": "research",
        "session": SessionId("주문 17"),
        "started_at": NOW,
        "ended_at": NOW + timedelta(seconds=4),
        "requested_model": "auto",
        "request_sha256": "0" * 64,
        "root_id": turn_id,
        "new_messages": (user("비밀 질문"),),
        "answer": (assistant("비밀 답"),),
        "route": Route(model="small", router="rules", reason="it says so"),
        "attempts": (attempt(),),
        "outcome": Outcome(status="success", finish_reason="stop"),
    }
    return Interaction(**(told | fields))


async def sent(collector: Collector, *some: Record, **settings: Any) -> None:
    sink = OtelSink(Settings(**settings), collector.url)
    await sink.open()
    for record in some:
        await sink.receive(record)
    await sink.close()


async def test_a_turn_is_a_span_with_its_calls_and_tools_below(collector: Collector) -> None:
    failed = attempt(outcome="failed", error_code="upstream_timeout", error="it was late")
    tool = ToolRun(id="call_1", tool="calculator", arguments={"a": 1}, result=2, duration_s=0.5)
    told = turn(attempts=(failed, attempt()), tool_runs=(tool,))
    await sent(collector, told)
    first, second, run, whole = collector.spans
    assert {span.trace_id.hex() for span in collector.spans} == {uuid.UUID(told.id).hex}
    assert [span.parent_span_id for span in (first, second, run)] == [whole.span_id] * 3
    assert whole.parent_span_id == b""
    assert whole.name == "turn auto"
    assert attributes(whole) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "coe",
        "gen_ai.request.model": "auto",
        "gen_ai.response.model": "gpt-4o-mini",
        "gen_ai.response.id": told.id,
        "gen_ai.conversation.id": "주문 17",
        "gen_ai.response.finish_reasons": ["stop"],
        "coe.group": "research",
        "coe.outcome": "success",
        "coe.route.router": "rules",
        "coe.route.reason": "it says so",
    }
    assert attributes(second) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4o-mini",
        "gen_ai.usage.input_tokens": 50,
        "gen_ai.usage.output_tokens": 7,
        "gen_ai.usage.cache_read.input_tokens": 20,
        "gen_ai.response.time_to_first_chunk": 0.5,
        "coe.model": "small",
        "coe.purpose": "chat",
        "coe.cost_usd": 0.0012,
    }
    assert (second.end_time_unix_nano - second.start_time_unix_nano) == 2_000_000_000
    assert (first.status.message, attributes(first)["error.type"]) == (
        "it was late",
        "upstream_timeout",
    )
    assert run.name == "execute_tool calculator"


async def test_child_turns_and_jobs_have_their_places(collector: Collector) -> None:
    root = turn()
    child = turn(root_id=root.id, parent_turn_id=root.id, depth=1)
    job = JobRun(
        id=uuid7(),
        job="summaries",
        group="research",
        started_at=NOW,
        ended_at=NOW + timedelta(seconds=1),
        attempts=(attempt(purpose="summary"),),
        outcome="ok",
    )
    await sent(collector, root, child, job)
    by_name = {span.name: span for span in collector.spans}
    turns = [span for span in collector.spans if span.name == "turn auto"]
    assert turns[1].parent_span_id == turns[0].span_id
    assert turns[1].trace_id == turns[0].trace_id
    assert by_name["job summaries"].trace_id.hex() == uuid.UUID(job.id).hex


@pytest.mark.parametrize("content", [False, True])
async def test_content_is_sent_only_where_it_is_asked_for(
    content: bool, collector: Collector
) -> None:
    await sent(collector, turn(), content=content)
    assert ("비밀" in str(collector.received[0].SerializeToString().decode("utf-8", "ignore"))) is (
        content
    )


async def test_metrics_add_up_what_was_billed(collector: Collector) -> None:
    first, second = turn(), turn(attempts=(attempt(), attempt(purpose="embedding")))
    await sent(collector, first, second, first)  # A record may come twice.
    tokens = collector.metrics["gen_ai.client.token.usage"].histogram.data_points
    counted = {
        (
            attributes(point)["gen_ai.operation.name"],
            attributes(point)["gen_ai.token.type"],
        ): point.sum
        for point in tokens
    }
    assert counted == {
        ("chat", "input"): 100,
        ("chat", "output"): 14,
        ("embeddings", "input"): 50,
        ("embeddings", "output"): 7,
    }
    seconds = collector.metrics["gen_ai.client.operation.duration"].histogram.data_points
    assert sum(point.sum for point in seconds) == 6.0


async def test_names_are_those_of_the_version_that_is_set(collector: Collector) -> None:
    await sent(collector, turn(), semconv="1.36")
    assert attributes(collector.spans[0])["gen_ai.system"] == "openai"
    assert not any("provider.name" in name for name in attributes(collector.spans[0]))


def test_names_are_those_of_the_conventions() -> None:
    known = {str(name) for name in vars(gen_ai_attributes).values()} | {"error.type"}
    for version in ("1.36", "1.41"):
        assert set(Names.of(version).attributes.values()) <= known
    metrics = {str(name) for name in vars(gen_ai_metrics).values()}
    assert set(Names.of("1.41").metrics.values()) <= metrics


@settings(suppress_health_check=[HealthCheck.too_slow], max_examples=30)
@given(record=st.one_of(interactions(), job_runs()))
def test_the_same_record_gives_the_same_spans(record: Interaction | JobRun) -> None:
    spans = Spans(Names.of("1.41"), Resource.create({}), content=True)
    first, again = spans.of(record), spans.of(record)
    assert [span.to_json() for span in first] == [span.to_json() for span in again]
    ids = {span.context.span_id for span in first if span.context is not None}
    tools = len(record.tool_runs) if isinstance(record, Interaction) else 0
    assert len(ids) == len({record.id, *(a.id for a in record.attempts)}) + tools


async def test_nothing_is_sent_where_no_collector_is_named() -> None:
    async with deployment(plugins={"otel": OtelPlugin}) as host:
        assert host.application.event_sinks == ()


async def test_a_dead_collector_holds_up_no_turn(collector: Collector) -> None:
    toml = f'[routing]\ndefault = "scripted"\n[plugins.otel]\nendpoint = "{DEAD}"\n'
    toml += "timeout_s = 0.1\nqueue_spans = 2\n"
    async with deployment(toml, plugins={"otel": OtelPlugin, "scripted": ScriptedPlugin}) as host:
        for _ in range(5):
            await ended(host.application)
    assert collector.received == []


async def test_a_deployment_s_turns_arrive_with_its_headers(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLLECTOR_KEY", "k-1")
    toml = f'[routing]\ndefault = "scripted"\n[plugins.otel]\nendpoint = "{collector.url}/"\n'
    toml += 'headers = { x-key = "env:COLLECTOR_KEY" }\nservice_name = "gateway"\n'
    async with deployment(toml, plugins={"otel": OtelPlugin, "scripted": ScriptedPlugin}) as host:
        await ended(host.application)
    assert [span.name for span in collector.spans][-1] == "turn auto"
    assert {headers["x-key"] for headers in collector.headers} == {"k-1"}
    resource = collector.received[0].resource_spans[0].resource
    assert attributes(resource)["service.name"] == "gateway"


class ScriptedPlugin:
    @hookimpl
    def coe_model_providers(self, ctx: object) -> list[ScriptedProvider]:
        return [ScriptedProvider()]


async def ended(application: Any) -> None:
    request = ChatRequest(model="auto", messages=(user("Hello"),))
    ask = Ask(request=request, principal=LOCAL)
    async for _ in engine.run(application, ask):
        pass
