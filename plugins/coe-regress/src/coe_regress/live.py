"""Live runs: cases asked of the real models, several times, within the open deployment.

They are turns like any others: paid, recorded, under the user `coe regress`, and no traffic that
cases are made of.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import aclosing

from attrs import evolve, field, frozen

from coe_core.application import Application
from coe_core.engine import run
from coe_core.error import CoeError
from coe_core.event import TurnEnded, TurnFailed
from coe_core.host import Host
from coe_regress.case import Case, Happened
from coe_regress.finding import REPLAYED_BY
from coe_regress.replay import Replay, ask_of, how_it_went
from coe_regress.significance import LEVEL, fisher, holm


@frozen(kw_only=True)
class Rate:
    """How often a case passed."""

    passed: int
    repeats: int
    missed: str = ""
    """What was missed last."""


@frozen(kw_only=True)
class Difference:
    """A case's rate, and that of a run before."""

    case: str
    now: Rate
    before: Rate | None = None
    p: float | None = None
    """By Fisher's exact test, two-sided, adjusted for the number of cases as Holm has it."""

    @property
    def is_real(self) -> bool:
        """Whether it is more than chance."""
        return self.p is not None and self.p < LEVEL


@frozen(kw_only=True)
class Rates:
    """A live run, as it is saved."""

    cases: Mapping[str, Rate] = field(factory=dict)


async def ask_repeatedly(case: Case, host: Host, repeats: int) -> Rate:
    """Ask a case several times."""
    passed, missed = 0, ""
    for _ in range(repeats):
        async with host.lease() as application:
            misses = (await _ask(case, application)).misses(case)
        passed += not misses
        missed = "; ".join(misses) or missed
    return Rate(passed=passed, repeats=repeats, missed=missed)


async def _ask(case: Case, application: Application) -> Replay:
    """Run a case's turn; what came before it goes with the request."""
    ask = ask_of(case, application)
    whole = evolve(ask.request, messages=(*case.context.history, *ask.request.messages))
    principal = evolve(ask.principal, user=REPLAYED_BY)
    ask = evolve(ask, request=whole, principal=principal, session_id=None)
    try:
        async with aclosing(run(application, ask)) as events:
            async for event in events:
                if isinstance(event, TurnEnded | TurnFailed):
                    turn = event.record
                    return Replay(happened=how_it_went(turn), decision=turn.route)
    except CoeError as error:  # Refused before it was a turn.
        return Replay(happened=Happened(status="refused", error_code=error.code))
    raise AssertionError("a turn has an end")


def compare(now: Rates, before: Rates) -> Sequence[Difference]:
    """Compare two runs, case by case."""
    both = [id_ for id_ in now.cases if id_ in before.cases]
    plain = [
        fisher(
            now.cases[id_].passed,
            now.cases[id_].repeats,
            before.cases[id_].passed,
            before.cases[id_].repeats,
        )
        for id_ in both
    ]
    adjusted = dict(zip(both, holm(plain), strict=True))
    return [
        Difference(case=id_, now=rate, before=before.cases.get(id_), p=adjusted.get(id_))
        for id_, rate in now.cases.items()
    ]
