"""The client's own choice of a route; its choice of a model is honoured by the engine itself."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import frozen

from coe_core.turn import Route, Turn
from coe_routing.clarification import chosen
from coe_routing.destination import Destination

HEADER = "x-coe-route"
METADATA = "route"


@frozen
class ExplicitRouter:
    """Takes the route that the header `x-coe-route` or `metadata.route` names, or the number that
    the user answered when asked back. What names no route of the group's is passed over.
    """

    routes: Mapping[str, Destination]
    titles: Mapping[str, str]
    name: str = "explicit"

    async def route(self, turn: Turn) -> Route | None:
        named = turn.headers.get(HEADER) or (turn.request.metadata or {}).get(METADATA)
        if (destination := self._admitted(named, turn)) is not None:
            return destination.route(turn, confidence=1.0, reason="the client named the route")
        if (destination := self._admitted(chosen(turn, self.titles), turn)) is not None:
            return destination.route(turn, confidence=1.0, reason="the user chose it when asked")
        return None

    async def abstention(self, turn: Turn) -> str:
        """Say why the router leaves a turn to the others."""
        return "the client names no route"

    def _admitted(self, named: object, turn: Turn) -> Destination | None:
        destination = self.routes.get(named) if isinstance(named, str) else None
        return destination if destination is not None and destination.admits(turn) else None
