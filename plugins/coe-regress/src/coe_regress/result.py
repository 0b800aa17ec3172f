"""Results: what a replay says of a case in its state."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterable
from typing import Literal, TypeAlias

from attrs import frozen

from coe_regress.case import Case
from coe_regress.replay import Replay, replay
from coe_regress.stage import Stage

Verdict: TypeAlias = Literal["passed", "failed", "known", "mended", "unrecorded", "retired"]
"""It passes and should; it should and does not; it fails as is known; it passes though it was known
to fail; the recording does not reach; it was not run.
"""


@frozen(kw_only=True)
class Result:
    """What was found."""

    case: Case
    verdict: Verdict
    text: str = ""
    took_s: float = 0.0

    @property
    def breaks(self) -> bool:
        """Whether a run with it fails. A candidate breaks nothing: nobody has looked at it yet."""
        return self.case.state != "candidate" and self.verdict in ("failed", "mended", "unrecorded")


def judge(case: Case, seen: Replay) -> tuple[Verdict, str]:
    """Say what a replay means in the state that a case has, and why."""
    if seen.unrecorded:
        return "unrecorded", "; ".join(dict.fromkeys(seen.unrecorded))
    misses = "; ".join(seen.misses(case))
    if case.state == "active":
        return ("failed", misses) if misses else ("passed", "")
    if misses:
        return "known", misses
    return "mended", f"it passes now: `coe regress activate {case.id}`"


async def run(cases: Iterable[Case], stage: Stage) -> AsyncIterator[Result]:
    """Replay cases, one after the other. Raises `StartRefused` when nothing can be replayed."""
    for case in cases:
        if case.state == "retired":
            yield Result(case=case, verdict="retired")
            continue
        started_s = time.perf_counter()
        verdict, text = judge(case, await replay(case, stage))
        took_s = time.perf_counter() - started_s
        yield Result(case=case, verdict=verdict, text=text, took_s=took_s)
