"""The console's panel: the switch of the last resort, and whom the breakers leave alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attrs import frozen

from coe_core.access import Principal
from coe_core.panel import Note, PanelItem, Table, Text, Toggle
from coe_core.service import Deployment
from coe_core.toggle import operator_param
from coe_fallback.breaker import State
from coe_fallback.settings import Settings
from coe_fallback.switch import NAME, BreakerStanding, Standing, standing

TITLE = {"en": "When models fail", "ko": "모델이 실패할 때"}
RESTING = {
    "en": "Every breaker is closed: no model is left alone.",
    "ko": "모든 차단기가 닫혀 있습니다. 호출이 중단된 모델이 없습니다.",
}
UNSET = {
    "en": "There is no last resort: [plugins.fallback] openai names no model.",
    "ko": "최후 수단이 없습니다. [plugins.fallback] openai에 지정된 모델이 없습니다.",
}
ON = {
    "en": "The last resort is on: {model} answers when a turn fails.",
    "ko": "최후 수단이 켜져 있습니다. 턴이 실패하면 {model} 모델이 응답합니다.",
}
OFF = {
    "en": "The last resort is off: a turn that fails is told so.",
    "ko": "최후 수단이 꺼져 있습니다. 실패한 턴은 오류로 끝납니다.",
}
SWITCH = {
    "en": "Last resort: {model} answers when a turn fails",
    "ko": "최후 수단: 턴이 실패하면 {model} 모델이 응답",
}
MODEL = {"en": "Model", "ko": "모델"}
STATE = {"en": "Breaker", "ko": "차단기"}
FAILURES = {"en": "Failures in a row", "ko": "연속 실패"}
UNTIL = {"en": "Tried again from", "ko": "다시 시도하는 시각"}
LEFT_ALONE = {"en": "Models that are left alone", "ko": "호출을 멈춘 모델"}
STATES: Mapping[State, Text] = {
    "closed": {"en": "closed", "ko": "닫힘"},
    "open": {"en": "open", "ko": "열림"},
    "half_open": {"en": "half open: one call tries", "ko": "반열림: 호출 하나로 시험 중"},
}


@frozen
class FallbackPanel:
    """A `Panel`. Operators may switch; everybody sees how it stands."""

    settings: Settings
    deployment: Deployment
    name: str = "fallback"
    title: Mapping[str, str] = TITLE

    async def show(self, principal: Principal, query: Mapping[str, str]) -> Sequence[PanelItem]:
        async with self.deployment.lease() as application:
            stands = await standing(application, self.settings)
        may_switch = principal.may("operator") and (
            stands.problem is None or stands.fallback_to_openai
        )
        resort = _toggle(stands) if may_switch else _note(stands)
        return [resort, _table(stands.breakers) if stands.breakers else Note(text=RESTING)]


def _toggle(stands: Standing) -> Toggle:
    return Toggle(
        label=_of(stands, SWITCH),
        key=operator_param(NAME),
        on=stands.fallback_to_openai,
        role="operator",
    )


def _note(stands: Standing) -> Note:
    if stands.problem is not None:
        return Note(text=UNSET)
    return Note(text=_of(stands, ON if stands.fallback_to_openai else OFF))


def _of(stands: Standing, text: Mapping[str, str]) -> Text:
    return {code: said.format(model=stands.openai or "?") for code, said in text.items()}


def _table(breakers: Mapping[str, BreakerStanding]) -> Table:
    rows = tuple(
        (alias, STATES[b.state], str(b.failures), b.until or "–")  # noqa: RUF001 a dash
        for alias, b in sorted(breakers.items())
    )
    return Table(columns=(MODEL, STATE, FAILURES, UNTIL), rows=rows, caption=LEFT_ALONE)
