"""The console's panel of the cases."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from attrs import frozen

from coe_core.access import Principal
from coe_core.panel import PanelItem, Stat, Table
from coe_regress.case import Case
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
        words = WORDS["ko" if query.get("lang") == "ko" else "en"]
        stats = [
            Stat(label=words[state], value=str(counts[state]))
            for state in ("candidate", "reviewed", "active")
        ]
        candidates = [case for case in own if case.state == "candidate"]
        candidates.sort(key=_newest, reverse=True)
        rows = tuple((c.id, c.failure, str(c.count), c.request.text) for c in candidates[:SHOWN])
        columns = (words["case"], words["failure"], words["turns"], words["request"])
        return [*stats, Table(columns=columns, rows=rows)]


WORDS: Mapping[str, Mapping[str, str]] = {
    "en": {
        "candidate": "Candidates",
        "reviewed": "Known failures",
        "active": "Mended",
        "case": "Case",
        "failure": "Failure",
        "turns": "Turns",
        "request": "Request",
    },
    "ko": {
        "candidate": "후보",
        "reviewed": "알려진 실패",
        "active": "고쳐진 실패",
        "case": "케이스",
        "failure": "실패 유형",
        "turns": "턴 수",
        "request": "요청",
    },
}


def _newest(case: Case) -> str:
    return max((seen.turn_id for seen in case.seen), default="")
