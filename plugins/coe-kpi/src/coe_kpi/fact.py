"""Facts: what of a record is counted. Everything that is shown is a sum over these."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Literal, TypeAlias, get_args

from attrs import frozen

from coe_core.ledger import Attempt
from coe_core.record import Feedback, Interaction, JobRun, Record, Settlement
from coe_core.turn import FailureClass

Result: TypeAlias = Literal["success", "client_error", "cancelled", "unresolved"] | FailureClass
"""How a turn ended, as the KPIs see it."""

FAILURES: tuple[FailureClass, ...] = get_args(FailureClass)
EXCLUDED: tuple[Result, ...] = ("client_error", "cancelled")
"""Ended, but neither for nor against the decision."""
RESULTS: tuple[Result, ...] = ("success", *FAILURES, "client_error", "cancelled", "unresolved")

PICO = Decimal("1e-12")
"""Costs are added up in millionths of a millionth of a dollar, so that the sums are exact."""

NO_ROUTE = "none"

NOT_COUNTED = (
    *("options", "headers", "params", "passages", "passages_used", "prompts"),
    *("exchange", "answer", "exposures", "verdicts"),
)
"""Fields of a turn's record that nothing is counted of."""


@frozen
class Scope:
    """Whose a number is: what it can be filtered and grouped by."""

    group: str
    route: str = NO_ROUTE
    target: str = ""
    """Where the decision led: an alias or an agent."""
    model: str = ""
    """The alias that an attempt called; "" for a turn."""
    purpose: str = ""
    owner: Literal["turn", "job"] = "turn"


@frozen(kw_only=True)
class Call:
    """One attempt."""

    scope: Scope
    estimated: bool = False
    failed: bool = False
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    unpriced_tokens: int = 0
    cost_pico: int = 0


@frozen(kw_only=True)
class TurnFact:
    """One turn, ended."""

    id: str
    minute: int
    """Of its start, from 1970."""
    scope: Scope
    result: Result
    tool_calls: int = 0
    tool_failures: int = 0
    calls: tuple[Call, ...] = ()


@frozen(kw_only=True)
class CallsFact:
    """Attempts that belong to no recorded turn: those of a job, or of a process that died."""

    id: str
    minute: int
    calls: tuple[Call, ...]
    turn_id: str | None = None
    """The turn that may be recorded after all, and then knows better."""


@frozen(kw_only=True)
class Objection:
    """Feedback that may say that a turn was no success."""

    turn_id: str
    is_bad: bool
    route: str | None = None
    """The alias, the agent or the route that was right."""

    def holds(self, target: str, route: str) -> bool:
        """Whether a turn that went to that target, by that route, was no success."""
        return self.is_bad or self.route not in (None, target, route)


Fact: TypeAlias = TurnFact | CallsFact | Objection


def facts(records: Iterable[Record]) -> Iterator[Fact]:
    """Say what of the records is counted. Turns that CoE did not run itself are not."""
    for record in records:
        match record:
            case Interaction(provenance=None):
                yield _turn(record)
            case Feedback():
                is_bad = record.rating == -1 or record.label == "wrong_route"
                yield Objection(turn_id=record.turn_id, is_bad=is_bad, route=record.route)
            case JobRun():
                calls = tuple(_call(a, _job_scope(record.group, a)) for a in record.attempts)
                yield CallsFact(id=record.id, minute=minute_of(record.started_at), calls=calls)
            case Settlement():
                yield _settled(record)
            case _:
                pass


def result_of(turn: Interaction) -> Result:
    """Tell how a turn ended, as far as its own record knows."""
    match turn.outcome.status:
        case "success" | "failed" if turn.outcome.failure is not None:
            return turn.outcome.failure
        case "success":
            return "success"
        case "failed":
            return "client_error"
        case "cancelled":
            return "cancelled"
        case "waiting":
            return "unresolved"


def minute_of(at: datetime) -> int:
    """Return the number of the minute that a time is in, from 1970."""
    return int(at.timestamp()) // 60


def cost_pico(cost_usd: Decimal) -> int:
    """Round a cost to what is added up."""
    return int((cost_usd / PICO).to_integral_value(ROUND_HALF_EVEN))


def _turn(turn: Interaction) -> TurnFact:
    route, target = NO_ROUTE, ""
    if turn.route is not None:
        route, target = turn.route.name or turn.route.router or NO_ROUTE, turn.route.target
    scope = Scope(turn.group, route, target)
    return TurnFact(
        id=turn.id,
        minute=minute_of(turn.started_at),
        scope=scope,
        result=result_of(turn),
        tool_calls=len(turn.tool_runs),
        tool_failures=sum(run.error_code is not None for run in turn.tool_runs),
        calls=tuple(
            _call(a, Scope(turn.group, route, target, a.model, a.purpose)) for a in turn.attempts
        ),
    )


def _job_scope(group: str, attempt: Attempt) -> Scope:
    return Scope(group, NO_ROUTE, "", attempt.model, attempt.purpose, "job")


def _call(attempt: Attempt, scope: Scope) -> Call:
    usage, cost = attempt.usage, attempt.cost_usd
    return Call(
        scope=scope,
        estimated=usage.estimated,
        failed=attempt.outcome != "ok",
        input_tokens=usage.input_tokens,
        cached_tokens=usage.cached_input_tokens,
        output_tokens=usage.output_tokens,
        reasoning_tokens=usage.reasoning_tokens,
        unpriced_tokens=usage.total_tokens if cost is None else 0,
        cost_pico=cost_pico(cost) if cost is not None else 0,
    )


def _settled(settlement: Settlement) -> CallsFact:
    """Count an attempt of unknown end at what was reserved for it, the most it can have cost."""
    intent = settlement.intent
    call = Call(
        scope=Scope(intent.group, NO_ROUTE, "", intent.model, intent.purpose),
        estimated=True,
        failed=True,
        cost_pico=cost_pico(intent.reserved_usd),
    )
    return CallsFact(
        id=intent.attempt_id, minute=minute_of(intent.at), calls=(call,), turn_id=intent.owner_id
    )
