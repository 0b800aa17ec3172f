"""Assembly: the routers with what they share, made together."""

from __future__ import annotations

from datetime import timedelta

from coe_core.compose import Context
from coe_core.service import Clock, Embedder, RecordReader
from coe_routing.clarification import ClarifyAgent, titles
from coe_routing.destination import destinations
from coe_routing.embedding import Embedders, Shelf
from coe_routing.explicit import ExplicitRouter
from coe_routing.health import HealthRouter, Pulses
from coe_routing.learnt import Learnt
from coe_routing.outcomes import Outcomes
from coe_routing.plugin import Parts
from coe_routing.quality import QualityRouter
from coe_routing.rules import RulesRouter
from coe_routing.semantic import SemanticRouter
from coe_routing.settings import RouteTable, Settings
from coe_routing.tally import Tally


def assemble(ctx: Context, settings: Settings, tables: dict[str, RouteTable]) -> Parts:
    """Make the components of a deployment's routes."""
    clock, reader = ctx.need(Clock), ctx.need(RecordReader)
    routes, shown = destinations(tables), titles(tables)
    pulses = Pulses(settings.health, clock)
    learnt = Learnt(reader, clock, routes)
    outcomes = Outcomes(
        Tally(settings.quality.prior_turns),
        reader,
        clock,
        timedelta(days=settings.quality.lookback_days),
    )
    semantic = SemanticRouter(
        tables=tables,
        routes=routes,
        out_of_scope=settings.out_of_scope,
        min_confidence=settings.min_confidence,
        unsure=settings.unsure,
        embedders=Embedders(ctx.need(Embedder), settings.second_embedder),
        shelf=Shelf(ctx.data_dir / "routing"),
        learnt=learnt if settings.learn else None,
    )
    return Parts(
        routers=(
            ExplicitRouter(routes, shown),
            RulesRouter(settings.rules, routes),
            semantic,
            QualityRouter(settings.quality, outcomes),
            HealthRouter(pulses),
        ),
        sinks=(pulses, learnt),
        agents=(ClarifyAgent(semantic, shown),),
    )
