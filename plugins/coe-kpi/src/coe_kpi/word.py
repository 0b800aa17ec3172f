"""Words: what the panel says, in English and Korean."""

from __future__ import annotations

from collections.abc import Mapping

from coe_kpi.fact import Result


def said(en: str, ko: str) -> Mapping[str, str]:
    """Pair a text with its Korean."""
    return {"en": en, "ko": ko}


TITLE = said("KPIs", "핵심 지표")
WINDOW = said("Window", "기간")
WINDOWS: Mapping[str, Mapping[str, str]] = {
    "1h": said("1 hour", "1시간"),
    "24h": said("24 hours", "24시간"),
    "7d": said("7 days", "7일"),
    "30d": said("30 days", "30일"),
}
BY = said("By", "분류")
ALL = said("all", "전체")

FIGURES: Mapping[str, Mapping[str, str]] = {
    "routing": said("Routing success", "라우팅 성공률"),
    "cost": said("Cost per success", "성공당 비용"),
    "tokens": said("Token usage", "토큰 사용량"),
    "tools": said("Tool call ratio", "도구 호출률"),
}
"""Each of the four, by the name that the panel's query has for it."""

UNITS: Mapping[str, Mapping[str, str]] = {
    "routing": said("%", "%"),
    "cost": said("USD", "USD"),
    "tokens": said("tokens", "토큰"),
    "tools": said("%", "%"),
}
LABELS: Mapping[str, Mapping[str, str]] = {
    "group": said("Group", "그룹"),
    "route": said("Route", "경로"),
    "model": said("Model", "모델"),
    "purpose": said("Purpose", "용도"),
}
COLUMNS = (
    said("Turns", "턴"),
    said("Routing success", "라우팅 성공률"),
    said("Tool calls", "도구 호출률"),
    said("Tokens", "토큰"),
    said("Cost", "비용"),
    said("Cost per success", "성공당 비용"),
)
RESULTS: Mapping[Result, Mapping[str, str]] = {
    "success": said("success", "성공"),
    "no_route": said("no route", "경로 없음"),
    "wrong_route": said("wrong route", "잘못된 경로"),
    "target_error": said("target failed", "대상 오류"),
    "timeout": said("timeout", "시간 초과"),
    "budget_denied": said("budget denied", "예산 거부"),
    "fallback_used": said("fallback used", "대체 모델 사용"),
    "client_error": said("client's error", "클라이언트 오류"),
    "cancelled": said("cancelled", "취소됨"),
    "unresolved": said("unresolved", "미결"),
}
OUTCOMES = said("How turns ended", "턴의 결과")
RESULT = said("Result", "결과")
COUNT = said("Turns", "턴")
WITH_TOOLS = said("with tool calls", "도구 호출 있음")
SESSION = said("Session", "세션")
BEGAN = said("Turn began", "턴 시작")
ROUTED = said("Routed to", "라우팅 대상")
ASKED = said("Asked for", "요청 모델")
USED = said("Tokens", "토큰")
COST = said("Cost (USD)", "비용 (USD)")
SESSIONS = said("Sessions behind the number, the newest first", "이 수치의 세션, 최신순")
MORE = said("More turns", "턴 더 보기")
OLDER = said("Older", "이전")
BACK = said("All KPIs", "전체 지표")
LOOK = said("View", "보기")
NOTHING = said("Nothing was recorded in this window.", "이 기간에 기록된 것이 없습니다.")
NO_TURN = said(
    "None of your group's turns is behind this number.",
    "이 수치에 해당하는 우리 그룹의 턴이 없습니다.",
)
OTHERS = said(
    "The number is of all groups. Only your own group's turns are shown: what they said is theirs.",
    "이 수치는 모든 그룹의 것입니다. 턴은 우리 그룹의 것만 표시하며, 대화는 각 그룹의 것입니다.",
)
UNPRICED = said(
    "Tokens of models without a price, whose cost is not known:",
    "가격이 없어 비용을 알 수 없는 토큰:",
)
