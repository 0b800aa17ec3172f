"""A record told as spans: a turn or a job, and below it each call of a model and each tool.

Spans are made whole from what was recorded; nothing is measured anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
from attrs import frozen
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind
from opentelemetry.trace.status import Status, StatusCode

from coe_core.codec import unstructure
from coe_core.ledger import Attempt
from coe_core.message import Message
from coe_core.record import Interaction, JobRun
from coe_core.turn import ToolRun
from coe_otel.identity import context
from coe_otel.names import Names

SCOPE = InstrumentationScope("coe_otel")
OPERATIONS = {"embedding": "embeddings"}
"""What the conventions call a purpose; every other one is a `chat`."""
PROVIDERS = {"local": "coe"}
"""What the conventions have no name for keeps ours."""


@frozen
class Spans:
    """Tells records as spans."""

    names: Names
    resource: Resource
    content: bool

    def of(self, record: Interaction | JobRun) -> list[ReadableSpan]:
        """Return the spans of a record, its own last: its children have ended before it."""
        match record:
            case Interaction():
                return [*self._below_turn(record), self._turn(record)]
            case JobRun():
                return [*self._calls(record.attempts, record.id, record.id), self._job(record)]

    def _below_turn(self, turn: Interaction) -> Iterator[ReadableSpan]:
        yield from self._calls(turn.attempts, turn.root_id, turn.id)
        for number, run in enumerate(turn.tool_runs):
            yield self._tool(turn, run, number)

    def _turn(self, turn: Interaction) -> ReadableSpan:
        outcome, route = turn.outcome, turn.route
        parent = turn.parent_turn_id
        attributes = self.names.write(
            operation="invoke_agent" if route is not None and route.agent else "chat",
            provider="coe",
            request_model=turn.requested_model,
            response_model=_answered_by(turn.attempts),
            response_id=turn.id,
            conversation=turn.session,
            agent_name=route.agent if route is not None else None,
            finish_reasons=_one(outcome.finish_reason),
            input_messages=self._messages(turn.new_messages),
            output_messages=self._messages(turn.answer),
            error=_error(outcome.status, outcome.error_code),
        )
        attributes |= {"coe.group": turn.group, "coe.outcome": outcome.status}
        if route is not None:
            attributes |= {"coe.route.router": route.router, "coe.route.reason": route.reason}
        return self._span(
            f"turn {turn.requested_model}",
            context(turn.root_id, turn.id),
            context(turn.root_id, parent) if parent is not None else None,
            (turn.started_at, turn.ended_at),
            attributes,
            kind=SpanKind.SERVER,
            error=outcome.error if outcome.status == "failed" else None,
        )

    def _job(self, run: JobRun) -> ReadableSpan:
        return self._span(
            f"job {run.job}",
            context(run.id, run.id),
            None,
            (run.started_at, run.ended_at),
            {"coe.group": run.group, **self.names.write(error=_error(run.outcome, run.error_code))},
            error=run.error if run.outcome == "failed" else None,
        )

    def _calls(
        self, attempts: Iterable[Attempt], root_id: str, owner_id: str
    ) -> Iterator[ReadableSpan]:
        for attempt in attempts:
            usage = attempt.usage
            attributes = self.names.write(
                operation=operation(attempt),
                provider=provider(attempt),
                request_model=attempt.name,
                input_tokens=usage.input_tokens,
                output_tokens=usage.output_tokens,
                cached_tokens=usage.cached_input_tokens,
                first_chunk=attempt.first_token_s,
                error=_error(attempt.outcome, attempt.error_code),
            )
            attributes |= {"coe.model": attempt.model, "coe.purpose": attempt.purpose}
            if attempt.cost_usd is not None:
                attributes["coe.cost_usd"] = float(attempt.cost_usd)
            if usage.estimated:
                attributes["coe.usage.estimated"] = True
            yield self._span(
                f"{operation(attempt)} {attempt.name}",
                context(root_id, attempt.id),
                context(root_id, owner_id),
                (attempt.started_at, attempt.started_at + timedelta(seconds=attempt.duration_s)),
                attributes,
                kind=SpanKind.CLIENT,
                error=attempt.error if attempt.outcome == "failed" else None,
            )

    def _tool(self, turn: Interaction, run: ToolRun, number: int) -> ReadableSpan:
        """Tell a tool's run. When it began was not recorded: it is shown at the turn's end."""
        attributes = self.names.write(
            operation="execute_tool",
            tool_name=run.tool,
            tool_call=run.id,
            tool_arguments=self._json(run.arguments),
            tool_result=self._json(run.result),
            error=run.error_code,
        )
        began = max(turn.started_at, turn.ended_at - timedelta(seconds=run.duration_s))
        return self._span(
            f"execute_tool {run.tool}",
            context(turn.root_id, f"{turn.id}/{number}"),
            context(turn.root_id, turn.id),
            (began, turn.ended_at),
            attributes,
            error=run.error,
        )

    def _span(
        self,
        name: str,
        own: SpanContext,
        parent: SpanContext | None,
        times: tuple[datetime, datetime],
        attributes: dict[str, Any],
        *,
        kind: SpanKind = SpanKind.INTERNAL,
        error: str | None = None,
    ) -> ReadableSpan:
        began, ended = times
        return ReadableSpan(
            name=name,
            context=own,
            parent=parent,
            resource=self.resource,
            attributes=attributes,
            kind=kind,
            status=Status(StatusCode.UNSET) if error is None else Status(StatusCode.ERROR, error),
            start_time=_nanoseconds(began),
            end_time=_nanoseconds(max(began, ended)),
            instrumentation_scope=SCOPE,
        )

    def _messages(self, messages: Sequence[Message]) -> str | None:
        return self._json([unstructure(message) for message in messages])

    def _json(self, value: Any) -> str | None:
        return msgspec.json.encode(value).decode() if self.content else None


def operation(attempt: Attempt) -> str:
    """Name what a call did."""
    return OPERATIONS.get(attempt.purpose, "chat")


def provider(attempt: Attempt) -> str:
    """Name who was called."""
    return PROVIDERS.get(attempt.provider, attempt.provider)


def _answered_by(attempts: Sequence[Attempt]) -> str | None:
    names = [a.name for a in attempts if a.purpose == "chat" and a.outcome == "ok"]
    return names[-1] if names else None


def _one(value: str | None) -> tuple[str, ...] | None:
    return None if value is None else (value,)


def _error(outcome: str, code: str | None) -> str | None:
    return (code or "_OTHER") if outcome == "failed" else None


def _nanoseconds(at: datetime) -> int:
    return int(at.timestamp() * 1_000_000) * 1000
