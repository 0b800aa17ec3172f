"""What an operator must know: that a target is left alone, that the last resort is on."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from attrs import frozen

from coe_core.contract import Alert
from coe_core.service import StateStore
from coe_core.toggle import operator_param
from coe_fallback.breaker import Breakers
from coe_fallback.switch import NAME


@frozen
class BreakerOpen:
    """Fires while a breaker is not closed."""

    breakers: Breakers
    name: str = "breaker-open"

    async def evaluate(self, now: datetime) -> Sequence[Alert]:
        return [
            Alert(
                key=f"{self.name}/{alias}",
                rule=self.name,
                severity="warning",
                text=f"the model {alias!r} has failed too often and is left alone",
                said={"ko": f"너무 자주 실패하여 호출을 멈춘 모델: {alias}"},
                playbook="docs/playbooks/breaker-open.md",
                pages={"ko": "docs/playbooks/breaker-open.ko.md"},
                at=now,
            )
            for alias, breaker in self.breakers.standing().items()
            if breaker["state"] != "closed"
        ]


@frozen
class FallbackActive:
    """Fires while an operator has the last resort on."""

    store: StateStore
    name: str = "fallback-active"

    async def evaluate(self, now: datetime) -> Sequence[Alert]:
        if (await self.store.get(operator_param(NAME))).value is not True:
            return []
        return [
            Alert(
                key=self.name,
                rule=self.name,
                severity="info",
                text="an operator has switched the last resort on: it answers what fails",
                said={"ko": "운영자가 최후 수단을 켰습니다. 실패한 턴에 그 모델이 응답합니다"},
                playbook="docs/playbooks/fallback-active.md",
                pages={"ko": "docs/playbooks/fallback-active.ko.md"},
                at=now,
            )
        ]
