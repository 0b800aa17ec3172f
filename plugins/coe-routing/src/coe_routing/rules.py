"""The router of rules."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import frozen

from coe_core.turn import Route, Turn
from coe_routing.destination import Destination
from coe_routing.rule import RuleTable


@frozen
class RulesRouter:
    """Takes the first rule whose conditions all hold."""

    rules: tuple[RuleTable, ...]
    routes: Mapping[str, Destination]
    name: str = "rules"

    async def route(self, turn: Turn) -> Route | None:
        for rule in self.rules:
            if rule.holds(turn) and (route := self._route(rule, turn)) is not None:
                return route
        return None

    async def abstention(self, turn: Turn) -> str:
        """Say why the router leaves a turn to the others."""
        return f"none of {len(self.rules)} rules holds" if self.rules else "there are no rules"

    def _route(self, rule: RuleTable, turn: Turn) -> Route | None:
        reason = f"the rule {rule.name!r} holds: {', '.join(rule.conditions())}"
        if rule.route is None:
            return Route(model=rule.model, agent=rule.agent, reason=reason)
        destination = self.routes[rule.route]
        if not destination.admits(turn):
            return None
        return destination.route(turn, confidence=1.0, reason=reason)
