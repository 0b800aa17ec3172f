"""The four KPIs, as `specs/kpis/` defines them, made of sums."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from attrs import frozen

from coe_kpi.fact import EXCLUDED, FAILURES, PICO, RESULTS, Result
from coe_kpi.interval import wilson
from coe_kpi.sums import CallSums, TurnSums

PLACES: Mapping[str, int] = {result: place for place, result in enumerate(RESULTS)}
"""By which number the sums have a result."""


@frozen(kw_only=True)
class TokenUsage:
    """All billable tokens of all attempts."""

    total: int
    input: int
    cached_input: int
    """Among the input."""
    output: int
    reasoning: int
    """Among the output."""
    estimated: int
    """Among the total: the upstream reported nothing, and the figures are ours."""
    calls: int
    failed_calls: int


@frozen(kw_only=True)
class ToolCallRatio:
    """Turns with a tool call that CoE executed, of those that have ended."""

    value: float | None
    low: float | None
    high: float | None
    turns: int
    with_tools: int
    calls: int
    calls_per_turn: float | None
    success: float | None
    """The share of the calls that did not fail."""


@frozen(kw_only=True)
class RoutingSuccessRate:
    """Decisions whose turn succeeded on its routed target, of those that were decided."""

    value: float | None
    low: float | None
    high: float | None
    decisions: int
    successes: int
    failures: Mapping[str, int]
    """Failure class to count, each of them."""
    unresolved: int
    excluded: int
    """The clients' own errors, and what they cancelled."""


@frozen(kw_only=True)
class CostPerSuccess:
    """What a success cost, with all that was spent on what was none."""

    value_usd: Decimal | None
    cost_usd: Decimal
    successes: int
    unpriced_tokens: int
    """Of models without a price: their cost is unknown, and not in the figures."""
    job_cost_usd: Decimal
    """Of jobs, which no turn pays for: beside the others, not among them."""


@frozen(kw_only=True)
class Kpis:
    """All four, of one stretch of time and one label."""

    token_usage: TokenUsage
    tool_call_ratio: ToolCallRatio
    routing_success_rate: RoutingSuccessRate
    cost_per_success: CostPerSuccess


def token_usage(sums: CallSums) -> TokenUsage:
    """Add up, whatever the calls were for."""
    return TokenUsage(
        total=sums.input_tokens + sums.output_tokens,
        input=sums.input_tokens,
        cached_input=sums.cached_tokens,
        output=sums.output_tokens,
        reasoning=sums.reasoning_tokens,
        estimated=sums.estimated_tokens,
        calls=sums.calls,
        failed_calls=sums.failed,
    )


def tool_call_ratio(turns: Mapping[int, TurnSums]) -> ToolCallRatio:
    """Leave out turns that wait: they may yet call a tool."""
    ended = TurnSums()
    for result, sums in turns.items():
        if result != PLACES["unresolved"]:
            ended += sums
    count, with_tools, calls = ended.turns, ended.tool_turns, ended.tool_calls
    low, high = wilson(with_tools, count) or (None, None)
    return ToolCallRatio(
        value=_share(with_tools, count),
        low=low,
        high=high,
        turns=count,
        with_tools=with_tools,
        calls=calls,
        calls_per_turn=_share(calls, count),
        success=_share(calls - ended.tool_failures, calls),
    )


def routing_success_rate(turns: Mapping[int, TurnSums]) -> RoutingSuccessRate:
    """Leave out what says nothing of the decision."""
    successes = _count(turns, "success")
    failures: dict[str, int] = {name: _count(turns, name) for name in FAILURES}
    decisions = successes + sum(failures.values())
    low, high = wilson(successes, decisions) or (None, None)
    return RoutingSuccessRate(
        value=_share(successes, decisions),
        low=low,
        high=high,
        decisions=decisions,
        successes=successes,
        failures=failures,
        unresolved=_count(turns, "unresolved"),
        excluded=sum(_count(turns, name) for name in EXCLUDED),
    )


def cost_per_success(
    turns: Mapping[int, TurnSums], spent: CallSums, jobs: CallSums
) -> CostPerSuccess:
    """Divide what all turns cost by those that succeeded."""
    successes, cost_usd = _count(turns, "success"), spent.cost_pico * PICO
    return CostPerSuccess(
        value_usd=(cost_usd / successes).quantize(PICO) if successes else None,
        cost_usd=cost_usd,
        successes=successes,
        unpriced_tokens=spent.unpriced_tokens,
        job_cost_usd=jobs.cost_pico * PICO,
    )


def _count(turns: Mapping[int, TurnSums], result: Result) -> int:
    sums = turns.get(PLACES[result])
    return sums.turns if sums is not None else 0


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
