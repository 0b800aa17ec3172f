"""Destinations: where a named route leads, and which of its models is taken."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

from attrs import frozen

from coe_core.turn import Candidate, Route, Turn
from coe_routing.settings import RouteTable


@frozen(kw_only=True)
class Standing:
    """What a refiner says of a model for a turn."""

    model: str
    score: float
    reason: str


@runtime_checkable
class Refiner(Protocol):
    """A router that also chooses among the models of a route that another router has found."""

    def rank(self, turn: Turn, models: Sequence[str], name: str) -> list[Standing]:
        """Return the models, best first, each with its reason; `name` is the route's."""
        ...


@frozen(kw_only=True)
class Destination:
    """Where a named route leads."""

    name: str
    models: tuple[str, ...] = ()
    agent: str | None = None
    tools: tuple[str, ...] | None = None
    layers: tuple[str, ...] | None = None
    groups: tuple[str, ...] | None = None

    @classmethod
    def of(cls, name: str, table: RouteTable) -> Destination:
        """Make it from its settings."""
        return cls(
            name=name,
            models=table.models or ((table.model,) if table.model is not None else ()),
            agent=table.agent,
            tools=table.tools,
            layers=table.layers,
            groups=table.groups,
        )

    @property
    def target(self) -> str:
        """The agent, or the first of the models."""
        return self.agent or self.models[0]

    def admits(self, turn: Turn) -> bool:
        """Whether the turn's group may take it."""
        return self.groups is None or turn.group in self.groups

    def route(
        self,
        turn: Turn,
        *,
        confidence: float,
        reason: str,
        candidates: tuple[Candidate, ...] = (),
    ) -> Route:
        """Decide for this destination, for that of its models which stands best."""
        model, why, standings = self._choice(turn)
        return Route(
            model=model,
            agent=self.agent,
            confidence=confidence,
            reason="; ".join(filter(None, (reason, why))),
            tools=self.tools,
            layers=self.layers,
            candidates=(*candidates, *standings),
            name=self.name,
        )

    def _choice(self, turn: Turn) -> tuple[str | None, str, tuple[Candidate, ...]]:
        if self.agent is not None:
            return None, "", ()
        allowed = turn.application.allowed_models(turn.principal)
        models = [model for model in self.models if model in allowed] or list(self.models)
        if len(models) == 1:
            return models[0], "", ()
        standings = ranked(turn, models, self.name)
        candidates = tuple(
            Candidate(target=s.model, score=s.score, reason=s.reason) for s in standings
        )
        return standings[0].model, standings[0].reason, candidates


def ranked(turn: Turn, models: Sequence[str], name: str) -> list[Standing]:
    """Rank models by every refiner that is in force, the last word being of the last asked.

    A refiner that is switched off says nothing; without any, the order of the settings stands.
    """
    standings = [Standing(model=model, score=0.0, reason="") for model in models]
    for router in turn.application.routers:
        if isinstance(router, Refiner):
            said = router.rank(turn, [standing.model for standing in standings], name)
            before = {standing.model: standing for standing in standings}
            standings = [_joined(before[standing.model], standing) for standing in said]
    return standings


def _joined(before: Standing, after: Standing) -> Standing:
    reasons = filter(None, (before.reason, after.reason))
    return Standing(
        model=after.model,
        score=after.score or before.score,
        reason=", ".join(reasons),
    )


def destinations(routes: Mapping[str, RouteTable]) -> dict[str, Destination]:
    """Make the destinations of all routes."""
    return {name: Destination.of(name, table) for name, table in routes.items()}
