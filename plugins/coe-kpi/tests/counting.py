"""Counts KPIs over raw records, one by one: what every surface has to show."""

from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from typing import Any

from attrs import define, field

from coe_core.record import Feedback, Interaction, JobRun, Record, Settlement

FAILURES = (
    "no_route",
    "wrong_route",
    "target_error",
    "timeout",
    "budget_denied",
    "fallback_used",
)


@define
class Count:
    """The plain figures of some records."""

    tokens: int = 0
    estimated: int = 0
    turns: int = 0
    with_tools: int = 0
    tool_calls: int = 0
    successes: int = 0
    failures: dict[str, int] = field(factory=lambda: dict.fromkeys(FAILURES, 0))
    unresolved: int = 0
    excluded: int = 0
    cost_usd: Decimal = Decimal(0)
    job_cost_usd: Decimal = Decimal(0)
    unpriced: int = 0


def count(
    records: Iterable[Record],
    since: datetime,
    until: datetime,
    *,
    group: str | None = None,
    model: str | None = None,
) -> Count:
    """Count what began in a window."""
    records = [*records]
    found = Count()
    turns = {r.id: r for r in records if isinstance(r, Interaction)}
    said = [r for r in records if isinstance(r, Feedback)]
    for turn in turns.values():
        is_within = since <= turn.started_at < until and group in (None, turn.group)
        if is_within and turn.provenance is None:
            _turn(found, turn, [f for f in said if f.turn_id == turn.id], model)
    for run in {r.id: r for r in records if isinstance(r, JobRun)}.values():
        if since <= run.started_at < until and group in (None, run.group):
            for attempt in run.attempts:
                if model in (None, attempt.model):
                    _tokens(found, attempt)
                    found.job_cost_usd += attempt.cost_usd or 0
    settled = [r.intent for r in records if isinstance(r, Settlement)]
    for intent in {intent.attempt_id: intent for intent in settled}.values():
        is_within = since <= intent.at < until and group in (None, intent.group)
        if is_within and model is None and intent.owner_id not in turns:
            found.cost_usd += intent.reserved_usd
    return found


def _tokens(found: Count, attempt: Any) -> None:
    usage = attempt.usage
    total = usage.input_tokens + usage.output_tokens
    found.tokens += total
    found.estimated += total if usage.estimated else 0


def _turn(found: Count, turn: Interaction, said: list[Feedback], model: str | None) -> None:
    for attempt in turn.attempts:
        if model in (None, attempt.model):
            _tokens(found, attempt)
    target = (turn.route.model or turn.route.agent) if turn.route else None
    if model not in (None, target):
        return
    for attempt in turn.attempts:
        found.cost_usd += attempt.cost_usd or 0
        if attempt.cost_usd is None:
            found.unpriced += attempt.usage.input_tokens + attempt.usage.output_tokens
    outcome = turn.outcome
    if outcome.status == "waiting":
        found.unresolved += 1
        return
    found.turns += 1
    found.with_tools += bool(turn.tool_runs)
    found.tool_calls += len(turn.tool_runs)
    if outcome.status == "cancelled" or (outcome.status == "failed" and outcome.failure is None):
        found.excluded += 1
    elif outcome.failure is not None:
        found.failures[outcome.failure] += 1
    elif any(_objects(f, turn) for f in said):
        found.failures["wrong_route"] += 1
    else:
        found.successes += 1


def _objects(feedback: Feedback, turn: Interaction) -> bool:
    if feedback.rating == -1 or feedback.label == "wrong_route":
        return True
    if feedback.route is None:
        return False
    route = turn.route
    if route is None:
        return feedback.route not in ("", "none")
    return feedback.route not in (route.model, route.agent, route.name or route.router or "none")
