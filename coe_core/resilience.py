"""The attempt policies asked, each behind a wall: one that fails is logged and passed over."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from loguru import logger

from coe_core.contract import (
    Continue,
    Failure,
    GiveUp,
    Held,
    ResiliencePolicy,
    Switch,
    Verdict,
)
from coe_core.error import BudgetExceeded, CoeError, UpstreamTimeout
from coe_core.ledger import Attempt
from coe_core.message import Message
from coe_core.patience import in_time
from coe_core.progress import Progress
from coe_core.turn import Turn

T = TypeVar("T")

CAREFUL: tuple[Held, ...] = ("nothing", "unfinished", "everything")
SERVER_FAULT = 500


def held(turn: Turn) -> Held:
    """Return what is kept back of the turn's answers."""
    policies = turn.application.resilience_policies
    asked = (_passing(policy, lambda p: p.holds(turn)) for policy in policies)
    return max((wish for wish in asked if wish in CAREFUL), key=CAREFUL.index, default="nothing")


def instead(progress: Progress, target: str) -> str:
    """Return what is called in the place of a target: mostly itself."""
    turn = progress.turn
    untried = fallbacks(progress, target)
    for policy in turn.application.resilience_policies:
        other = _passing(policy, lambda p: p.instead(turn, target, untried))
        if isinstance(other, str) and other in turn.application.allowed_models(turn.principal):
            return other
    return target


async def note(turn: Turn, attempt: Attempt, error: CoeError | None) -> None:
    """Tell of an attempt that has ended."""
    for policy in turn.application.resilience_policies:
        try:
            await in_time(turn.application, policy.name, policy.note(turn, attempt, error))
        except Exception as raised:
            _passed_over(policy.name, raised)


async def verdict(turn: Turn, failure: Failure) -> Verdict:
    """Ask what follows a failed attempt."""
    for policy in turn.application.attempt_policies:
        try:
            work = policy.after_failure(turn, failure)
            said = await in_time(turn.application, policy.name, work)
        except BudgetExceeded:
            raise
        except Exception as raised:
            _passed_over(policy.name, raised)
            continue
        if isinstance(said, Verdict):
            return said
        if said is not None:
            logger.bind(policy=policy.name).error("a policy's verdict is none")
    return declared_fallbacks(failure)


async def last_resort(progress: Progress, error: Exception) -> Switch | Continue | None:
    """Ask who answers a turn that has failed, None where nobody may.

    What the client did wrong, a guard or a budget refused stays refused. Nor is there a way on
    once the client has seen a tool call: it is whole, and the client acts on it.
    """
    turn, sent = progress.turn, progress.sent
    known = known_error(error)
    if known.status < SERVER_FAULT or progress.is_late:
        return None
    if any(message.tool_calls for message in sent.messages()):
        return None
    failure = Failure(
        error=known,
        model=progress.tried[-1] if progress.tried else "",
        attempts=chat_attempts(turn),
        fallbacks=(),
        text=sent.text,
        started=bool(sent.choices),
        messages=conversation(turn),
    )
    for policy in turn.application.resilience_policies:
        try:
            work = policy.last_resort(turn, failure)
            said = await in_time(turn.application, policy.name, work)
        except Exception as raised:
            _passed_over(policy.name, raised)
            continue
        match said:
            case Switch() if not failure.started:
                return said
            case Continue():
                return said
    return None


def known_error(error: Exception) -> CoeError:
    """Return an error that is fit to be shown: what others raise may say anything of us."""
    match error:
        case CoeError():
            return error
        case TimeoutError():
            return UpstreamTimeout("what the turn waited for did not answer in time; see the log")
        case _:
            return CoeError("an error inside CoE; see its log")


def declared_fallbacks(failure: Failure) -> Verdict:
    """Decide as the core does when no policy has: take the next declared fallback, as long as the
    client has seen nothing and another target may do better.
    """
    if failure.started or not failure.error.retryable or not failure.fallbacks:
        return GiveUp()
    return Switch(model=failure.fallbacks[0])


def fallbacks(progress: Progress, target: str) -> tuple[str, ...]:
    """Return the fallbacks declared for the turn's route that have not been tried."""
    turn = progress.turn
    declared = turn.application.settings.routing.fallbacks
    chain = declared.get(progress.route.target if progress.route else target, ())
    allowed = turn.application.allowed_models(turn.principal)
    return tuple(alias for alias in chain if alias not in progress.tried and alias in allowed)


def chat_attempts(turn: Turn) -> tuple[Attempt, ...]:
    """Return the attempts at an answer so far."""
    return tuple(attempt for attempt in turn.ledger.attempts if attempt.purpose == "chat")


def conversation(turn: Turn) -> tuple[Message, ...]:
    """Return what the client asked, after the history that it leaves to us."""
    if turn.session.carried:
        return turn.request.messages
    return (*turn.session.history, *turn.request.messages)


def _passing(policy: ResiliencePolicy, ask: Callable[[ResiliencePolicy], T]) -> T | None:
    try:
        return ask(policy)
    except Exception as error:
        _passed_over(policy.name, error)
        return None


def _passed_over(name: str, error: Exception) -> None:
    logger.bind(policy=name).opt(exception=error).error("a policy raised")
