"""Every component keeps the laws of its kind."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import click
from coe_routing.clarification import ClarifyAgent, titles
from coe_routing.command import command
from coe_routing.destination import destinations
from coe_routing.explanation import ROUTE
from coe_routing.explicit import ExplicitRouter
from coe_routing.health import HealthRouter, Pulses
from coe_routing.learnt import Learnt
from coe_routing.outcomes import Outcomes
from coe_routing.plugin import RoutingPlugin
from coe_routing.quality import QualityRouter
from coe_routing.rule import RuleTable
from coe_routing.rules import RulesRouter
from coe_routing.semantic import SemanticRouter
from coe_routing.settings import HealthTable, QualityTable
from coe_routing.tally import Tally

from coe_core.application import Application
from coe_core.ephemeral import EphemeralRecords
from coe_core.http import HttpRoute
from coe_core.testing import (
    AgentContract,
    CliCommandContract,
    EventSinkContract,
    HttpRouteContract,
    ManualClock,
    PluginContract,
    RouterContract,
    scripted_application,
)

from .conftest import ROUTES, WordProvider, semantic_router


class TestExplicit(RouterContract):
    examples = 8

    def make(self) -> ExplicitRouter:
        return ExplicitRouter(destinations(ROUTES), titles(ROUTES))


class TestRules(RouterContract):
    examples = 8

    def make(self) -> RulesRouter:
        rules = (
            RuleTable(name="long", min_tokens=20, route="code"),
            RuleTable(name="ko", languages=("ko",), route="travel"),
            RuleTable(name="night", hours="22:00-06:00", zone="Asia/Seoul", model="scripted"),
        )
        return RulesRouter(rules, destinations(ROUTES))


class TestSemantic(RouterContract):
    examples = 5

    async def make(self) -> SemanticRouter:
        return make_semantic()


class TestSemanticThatAsksBack(RouterContract):
    examples = 5

    async def make(self) -> SemanticRouter:
        return make_semantic(unsure="clarify", min_confidence=0.9)


class TestQuality(RouterContract):
    examples = 8

    def make(self) -> QualityRouter:
        tally = Tally(10)
        tally.add("default", "", "scripted", good=False)
        outcomes = Outcomes(tally, EphemeralRecords(), ManualClock(), timedelta(days=1))
        return QualityRouter(QualityTable(models=("scripted",)), outcomes)


class TestHealth(RouterContract):
    examples = 8

    def make(self) -> HealthRouter:
        return HealthRouter(Pulses(HealthTable(), ManualClock()))


class TestClarify(AgentContract):
    examples = 5

    async def make(self) -> ClarifyAgent:
        return ClarifyAgent(make_semantic(), titles(ROUTES))


class TestPulses(EventSinkContract):
    def make(self) -> Pulses:
        return Pulses(HealthTable(), ManualClock())


class TestLearnt(EventSinkContract):
    def make(self) -> Learnt:
        return Learnt(EphemeralRecords(), ManualClock(), destinations(ROUTES))


class TestExplain(HttpRouteContract):
    def make(self) -> HttpRoute:
        return ROUTE


class TestCommand(CliCommandContract):
    def make(self) -> click.Command:
        return command


class TestPlugin(PluginContract):
    name = "routing"
    settings = """
        [plugins.routing.routes.refunds]
        description = "Getting money back"
        examples = ["refund, please"]
        model = "scripted"

        [[plugins.routing.rules]]
        name = "all-korean"
        languages = ["ko"]
        route = "refunds"
    """

    def make(self) -> type[RoutingPlugin]:
        return RoutingPlugin


def make_semantic(**fields: object) -> SemanticRouter:
    return semantic_router(scripted(), Path(next(FOLDERS)), **fields)


def scripted() -> Application:
    return scripted_application(WordProvider())


def folders() -> Iterator[str]:
    with TemporaryDirectory(prefix="coe-") as folder:
        while True:
            yield folder


FOLDERS = folders()
"""One folder for all: what is on the shelf from one example is used by the next."""
