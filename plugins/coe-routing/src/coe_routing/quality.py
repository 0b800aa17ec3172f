"""The router by cost and quality: the cheapest model that is good enough for the kind of request,
as recorded outcomes tell.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from attrs import define

from coe_core.turn import Candidate, Route, Turn
from coe_routing.destination import Standing, ranked
from coe_routing.outcomes import Outcomes
from coe_routing.settings import QualityTable


@define(eq=False)
class QualityRouter:
    """Ranks the models of a route, and decides among its own when nobody else did."""

    settings: QualityTable
    outcomes: Outcomes
    name: str = "quality"

    async def open(self) -> None:
        """Begin to read recorded outcomes."""
        await self.outcomes.open()

    async def close(self) -> None:
        """Stop reading them."""
        await self.outcomes.close()

    async def route(self, turn: Turn) -> Route | None:
        allowed = turn.application.allowed_models(turn.principal)
        models = [model for model in self.settings.models if model in allowed]
        if not models:
            return None
        standings = ranked(turn, models, "")
        return Route(
            model=standings[0].model,
            confidence=min(1.0, max(0.0, standings[0].score)),
            reason=standings[0].reason or "the first of [plugins.routing.quality] models",
            candidates=tuple(
                Candidate(target=s.model, score=s.score, reason=s.reason) for s in standings
            ),
        )

    def rank(self, turn: Turn, models: Sequence[str], name: str) -> list[Standing]:
        expected = {model: self.outcomes.expect(turn.group, name, model) for model in models}
        enough = max(each.mean for each in expected.values()) - self.settings.tolerance
        # What little is known may mislead: a cheaper model is given the benefit of the doubt.
        good = [m for m in models if expected[m].mean + expected[m].deviation >= enough]
        by_cost = sorted(good, key=lambda model: _cost(turn, model))
        rest = sorted(set(models) - set(good), key=lambda m: (-expected[m].mean, m))
        return [
            Standing(
                model=model,
                score=expected[model].mean,
                reason=f"{model} succeeds in {expected[model].mean:.0%} "
                f"of such turns ({expected[model].turns:.0f} recorded)",
            )
            for model in (*by_cost, *rest)
        ]

    async def abstention(self, turn: Turn) -> str:
        """Say why the router leaves a turn to the others."""
        return "[plugins.routing.quality] models names none that the group may use"


def _cost(turn: Turn, model: str) -> Decimal:
    """Compare costs by the price of as many tokens in as out; an unknown price is the highest."""
    known = turn.application.models.get(model)
    price = known.price if known is not None else None
    return price.input + price.output if price is not None else Decimal("Infinity")
