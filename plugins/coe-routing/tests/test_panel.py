"""The console's panel tells what `coe routes explain` tells."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from coe_routing.explanation import Question, explain
from coe_routing.panel import RoutesPanel
from coe_routing.plugin import RoutingPlugin

from coe_core import hookimpl
from coe_core.access import LOCAL, GroupName, Principal
from coe_core.application import Application
from coe_core.panel import Choice, Field, Note, Stat, Table
from coe_core.testing import (
    PanelContract,
    ScriptedProvider,
    StandingDeployment,
    deployment,
    scripted_application,
)

SETTINGS = """
[routing]
default = "scripted"
[groups.limited]
rpm = 1
[plugins.routing.routes.code]
model = "scripted"
tools = []
[[plugins.routing.rules]]
name = "of the limited"
groups = ["limited"]
route = "code"
[[plugins.routing.rules]]
name = "korean"
languages = ["ko"]
route = "code"
"""


class TestRoutesPanel(PanelContract):
    def make(self) -> RoutesPanel:
        return RoutesPanel(StandingDeployment(scripted_application(ScriptedProvider())))


class Scripted:
    @hookimpl
    def coe_model_providers(self, ctx: Any) -> list[Any]:
        return [ScriptedProvider()]


@pytest.fixture
async def application() -> AsyncIterator[Application]:
    plugins = {"routing": RoutingPlugin, "scripted": Scripted}
    async with deployment(SETTINGS, plugins=plugins) as host:
        yield host.application


async def test_it_shows_the_decision_and_what_every_router_says(application: Application) -> None:
    (panel,) = application.panels
    field, _, *items = await panel.show(LOCAL, {"text": " 코드 좀 봐 줘 "})
    assert isinstance(field, Field)
    assert (field.name, field.value) == ("text", "코드 좀 봐 줘")
    figures = [item.value for item in items if isinstance(item, Stat)]
    assert figures == ["scripted", "code", "rules", "1.00", "-"]
    explained = await explain(application, Question(text="코드 좀 봐 줘"), LOCAL)
    (steps,) = (item for item in items if isinstance(item, Table))
    assert [row[0] for row in steps.rows] == [step.router for step in explained.steps]
    assert [row[3] for row in steps.rows] == [step.reason for step in explained.steps]


async def test_an_admin_asks_for_any_group(application: Application) -> None:
    (panel,) = application.panels
    _, choice, *items = await panel.show(LOCAL, {"text": "hello", "group": "limited"})
    assert isinstance(choice, Choice)
    assert [link.text for link in choice.options] == ["default", "limited"]
    assert choice.options[0].query == {"text": "hello", "group": "default"}
    assert choice.chosen == 1
    figures = [item.value for item in items if isinstance(item, Stat)]
    assert figures[:3] == ["scripted", "code", "rules"]
    operator = Principal(group=GroupName("default"), role="operator")
    _, note = await panel.show(operator, {"text": "hello", "group": "limited"})
    assert isinstance(note, Note)
    _, *items = await panel.show(operator, {"text": "hello"})
    assert not [item for item in items if isinstance(item, Choice)]


async def test_it_asks_for_a_request_and_says_why_it_cannot_answer(
    application: Application,
) -> None:
    (panel,) = application.panels
    assert len(await panel.show(LOCAL, {"text": " \n"})) == 1
    member = Principal(group=GroupName("limited"), role="member")
    (note,) = await panel.show(member, {"text": "hello"})
    assert isinstance(note, Note)
    operator = Principal(group=GroupName("limited"), role="operator")
    await panel.show(operator, {"text": "hello"})
    _, note = await panel.show(operator, {"text": "hello"})
    assert isinstance(note, Note)
    assert "per minute" in str(note.text)
