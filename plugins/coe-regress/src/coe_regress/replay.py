"""A replay: the turn of a case, run again by the engine, and judged."""

from __future__ import annotations

from contextlib import aclosing

from attrs import frozen

from coe_core.access import RANK, AccessRole, GroupName, Principal
from coe_core.admission import Ask
from coe_core.application import Application
from coe_core.engine import run
from coe_core.error import CoeError
from coe_core.event import TurnEnded, TurnFailed
from coe_core.record import Interaction
from coe_core.turn import Route
from coe_regress.case import Case, Happened, Tried
from coe_regress.clock import IN_TURN
from coe_regress.stage import SESSION, Stage


@frozen(kw_only=True)
class Replay:
    """What came of it."""

    happened: Happened
    decision: Route | None = None
    unrecorded: tuple[str, ...] = ()
    """What was asked and is not on the tape: the replay then proves nothing."""

    def misses(self, case: Case) -> list[str]:
        """Say what was expected and is not so; nothing when the case passes."""
        found, expect = [], case.expect
        if self.happened.status != "success":
            code = self.happened.error_code or self.happened.failure
            found.append(f"it ended as {self.happened.status} ({code}), not with an answer")
        elif expect.ends == "succeeded" and self.happened.failure is not None:
            found.append(f"it ended as {self.happened.failure}")
        taken = (self.decision.target, self.decision.name) if self.decision else ()
        went = f"it went to {' by '.join(filter(None, taken)) or 'nowhere'}"
        if expect.goes_to is not None and expect.goes_to not in taken:
            found.append(f"{went}, not to {expect.goes_to}")
        if expect.not_to is not None and expect.not_to in taken:
            found.append(f"{went}, where it should not go")
        return found


async def replay(case: Case, stage: Stage) -> Replay:
    """Run a case once. Raises `StartRefused` when the deployment does not compose."""
    async with stage.set(case) as (application, tape):
        IN_TURN.set(True)
        try:
            turn = await _run(application, case)
        except CoeError as error:  # Refused before it was a turn.
            happened = Happened(status="refused", error_code=error.code)
            return Replay(happened=happened, unrecorded=tuple(tape.unrecorded))
        finally:
            IN_TURN.set(False)
        decision = turn.route
        return Replay(
            happened=how_it_went(turn), decision=decision, unrecorded=tuple(tape.unrecorded)
        )


def how_it_went(turn: Interaction) -> Happened:
    """Say how a turn ended, without its words."""
    return Happened(
        status=turn.outcome.status,
        failure=turn.outcome.failure,
        error_code=turn.outcome.error_code,
        attempts=tuple(
            Tried(model=a.model, error_code=a.error_code)
            for a in turn.attempts
            if a.purpose == "chat"
        ),
    )


def ask_of(case: Case, application: Application) -> Ask:
    """Make the request that a case holds."""
    context = case.context
    return Ask(
        request=case.request,
        principal=Principal(group=GroupName(context.group), role=_role(context.role)),
        session_id=SESSION,
        headers=context.headers,
        params={n: v for n, v in context.params.items() if n in application.parameters},
    )


def _role(name: str) -> AccessRole:
    """Take the least of roles for one that is unknown."""
    return next((role for role in RANK if role == name), "viewer")


async def _run(application: Application, case: Case) -> Interaction:
    async with aclosing(run(application, ask_of(case, application))) as events:
        async for event in events:
            if isinstance(event, TurnEnded | TurnFailed):
                return event.record
    raise AssertionError("a turn has an end")
