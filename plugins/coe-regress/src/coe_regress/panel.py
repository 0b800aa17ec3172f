"""The console's panel of the cases."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from attrs import frozen

from coe_core.access import Principal
from coe_core.identity import TurnId
from coe_core.panel import Link, Note, PanelItem, Stat, Table
from coe_regress.case import Case, State
from coe_regress.folder import Folder
from coe_regress.settings import Settings

SHOWN = 50


@frozen
class CasesPanel:
    """A `Panel`: how many cases there are in each state, and the candidates, the newest first."""

    settings: Settings
    name: str = "cases"

    @property
    def title(self) -> Mapping[str, str]:
        return {"en": "Failures as tests", "ko": "테스트가 된 실패"}

    async def show(self, principal: Principal, query: Mapping[str, str]) -> Sequence[PanelItem]:
        """Show an operator the group's own cases."""
        if not principal.may("operator"):
            return []
        folder = Folder(Path(self.settings.cases))
        every = await asyncio.to_thread(lambda: list(folder.cases()))
        own = [case for case in every if case.context.group == principal.group]
        counts = Counter(case.state for case in own)
        stats = [Stat(label=label, value=str(counts[state])) for state, label in STATES.items()]
        candidates = [case for case in own if case.state == "candidate"]
        candidates.sort(key=_newest, reverse=True)
        if not candidates:
            return [*stats, Note(text=NO_CANDIDATE)]
        rows = tuple((_id(c), c.failure, str(c.count), c.request.text) for c in candidates[:SHOWN])
        return [*stats, Table(columns=COLUMNS, rows=rows, caption=STATES["candidate"])]


STATES: Mapping[State, Mapping[str, str]] = {
    "candidate": {"en": "Candidates", "ko": "후보"},
    "reviewed": {"en": "Known failures", "ko": "알려진 실패"},
    "active": {"en": "Mended", "ko": "고쳐진 실패"},
}
COLUMNS = (
    {"en": "Case", "ko": "케이스"},
    {"en": "Failure", "ko": "실패 유형"},
    {"en": "Turns", "ko": "턴 수"},
    {"en": "Request", "ko": "요청"},
)
NO_CANDIDATE = {
    "en": "No failure waits for a review. coe regress capture makes cases of the failures that"
    " were recorded.",
    "ko": "검토를 기다리는 실패가 없습니다. coe regress capture 명령이 기록된 실패를 케이스로"
    " 만듭니다.",
}


def _id(case: Case) -> str | Link:
    """Lead to the newest turn that failed so, where one is known."""
    newest = _newest(case)
    return Link(text=case.id, turn=TurnId(newest)) if newest else case.id


def _newest(case: Case) -> str:
    return max((seen.turn_id for seen in case.seen), default="")
