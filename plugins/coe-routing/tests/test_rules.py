"""Each condition holds where it should, and nowhere else."""

from datetime import UTC, datetime, time, timedelta

import pytest
from coe_routing.destination import destinations
from coe_routing.language import language
from coe_routing.rule import CONDITIONS, RuleTable
from coe_routing.rules import RulesRouter
from hypothesis import given
from hypothesis import strategies as st

from coe_core.access import GroupName, Principal
from coe_core.identity import SessionId
from coe_core.message import Message, Part, user
from coe_core.request import ChatRequest, FunctionDefinition, ToolDefinition
from coe_core.testing import make_turn
from coe_core.turn import Session, Turn

from .conftest import ROUTES

MONDAY = datetime(2026, 11, 23, 1, 30, tzinfo=UTC)
IMAGE = Message(
    role="user", content=(Part(type="text", text="see"), Part(type="image_url", text=None))
)
TOOL = ToolDefinition(function=FunctionDefinition(name="f"))


def turn_of(text: str = "Hello", *, group: str = "default", **fields: object) -> Turn:
    principal = Principal(group=GroupName(group), user="kim")
    messages = fields.pop("messages", (user(text),))
    told = {name: fields.pop(name) for name in ("metadata", "tools") if name in fields}
    request = ChatRequest(model="auto", messages=messages, **told)  # type: ignore[arg-type]
    session = Session(id=SessionId("batch-7"), new_messages=request.messages)
    told = {"session": session, "started_at": MONDAY} | fields
    return make_turn(request=request, principal=principal, **told)


@pytest.mark.parametrize(
    ("condition", "holds", "fails"),
    [
        ({"groups": ("research", "de*")}, {}, {"group": "sales"}),
        ({"users": ("kim",)}, {}, None),
        ({"sessions": ("batch-*",)}, {}, None),
        ({"tags": ("urgent",)}, {"metadata": {"tags": "x, urgent"}}, {"metadata": {"tags": "x"}}),
        ({"tags": ("urgent",)}, {"metadata": {"tags": ["urgent"]}}, {}),
        ({"metadata": {"team": "a*"}}, {"metadata": {"team": "ab"}}, {"metadata": {"team": 1}}),
        ({"headers": {"X-App": "mail"}}, {"headers": {"x-app": "mail"}}, {}),
        ({"text": ("Invoice", "송장")}, {"text": "my invoice?"}, {"text": "my voice?"}),
        ({"languages": ("ko",)}, {"text": "Excel 파일 열어 줘"}, {"text": "open the file"}),
        ({"modalities": ("image",)}, {"messages": (IMAGE,)}, {}),
        ({"with_tools": True}, {"tools": (TOOL,)}, {}),
        ({"with_tools": False}, {}, {"tools": (TOOL,)}),
        ({"min_tokens": 100}, {"text": "word " * 100}, {}),
        ({"max_tokens": 100}, {}, {"text": "word " * 100}),
        (
            {"hours": "10:00-11:00", "zone": "Asia/Seoul"},
            {},
            {"started_at": MONDAY.replace(hour=5)},
        ),
        ({"days": ("mon",)}, {}, {"started_at": MONDAY + timedelta(days=1)}),
    ],
)
def test_a_condition_holds(condition: dict, holds: dict, fails: dict | None) -> None:
    rule = RuleTable(name="r", model="m", **condition)
    assert rule.holds(turn_of(**holds))
    if fails is not None:
        assert not rule.holds(turn_of(**fails))


def test_every_condition_is_a_setting_and_every_setting_a_condition() -> None:
    settings = {a.name for a in RuleTable.__attrs_attrs__}  # type: ignore[attr-defined]
    assert settings - set(CONDITIONS) == {"name", "route", "model", "agent", "zone"}
    assert set(CONDITIONS) <= settings


@given(st.times(), st.times(), st.datetimes(timezones=st.just(UTC)))
def test_hours_over_midnight_are_the_rest_of_the_day(start: time, end: time, now: datetime) -> None:
    one, other = f"{start:%H:%M}-{end:%H:%M}", f"{end:%H:%M}-{start:%H:%M}"
    turn = turn_of(started_at=now)
    inside = [RuleTable(name="r", model="m", hours=hours).holds(turn) for hours in (one, other)]
    if f"{start:%H:%M}" == f"{end:%H:%M}":
        assert inside == [True, True]
    else:
        assert sum(inside) == 1


async def test_the_first_rule_that_holds_decides() -> None:
    rules = (
        RuleTable(name="no", groups=("nobody",), model="never"),
        RuleTable(name="travel", text=("hotel",), route="travel"),
        RuleTable(name="all", max_tokens=1000, model="small"),
    )
    router = RulesRouter(rules, destinations(ROUTES))
    travel = await router.route(turn_of("a hotel"))
    barred = await router.route(turn_of("a hotel", group="sales"))
    assert travel is not None
    assert barred is not None
    assert (travel.agent, travel.name, travel.reason) == (
        "clarify",
        "travel",
        "the rule 'travel' holds: text",
    )
    assert (barred.model, barred.name) == ("small", "")


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"groups": ("a",)}, "exactly one of route, model and agent"),
        ({"groups": ("a",), "model": "m", "agent": "a"}, "exactly one"),
        ({"model": "m"}, "no condition"),
        ({"model": "m", "days": ("mo",)}, "days"),
        ({"model": "m", "hours": "25:00-26:00"}, "hours"),
        ({"model": "m", "groups": ("a",), "zone": "Seoul"}, "write Asia/Seoul"),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused(wrong: dict, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        RuleTable(name="r", **wrong)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("안녕하세요", "ko"),
        ("안녕".encode().decode(), "ko"),
        ("please 번역해 줘", "ko"),
        ("日本語で書いて", "ja"),
        ("请翻译", "zh"),
        ("Привет", "ru"),
        ("Grüße", "en"),
        ("123 !?", "other"),
        ("", "other"),
    ],
)
def test_a_language_is_told_by_its_script(text: str, expected: str) -> None:
    assert language(text) == expected
