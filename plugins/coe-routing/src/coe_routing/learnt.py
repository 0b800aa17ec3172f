"""Examples learnt from the log: what a group's own people said of its own turns."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from attrs import define, field, frozen

from coe_core.identity import TurnId
from coe_core.record import Feedback, Record
from coe_core.service import Clock, RecordReader
from coe_routing.destination import Destination

EVERY_S = 60.0
"""How long another worker's feedback may go unnoticed; this one's own is heard at once."""
WINDOW = timedelta(days=90)
PER_ROUTE = 20
"""How many examples a route learns at most, for a group: the newest."""


@frozen(kw_only=True)
class LearntExample:
    """A request, and the route that somebody said it should have taken."""

    text: str
    route: str


@define(eq=False)
class Learnt:
    """The examples of each group, read from the log; an event sink, to know when to read again.

    Nothing is stored anew: what is erased from the log is forgotten.
    """

    reader: RecordReader
    clock: Clock
    routes: Mapping[str, Destination]
    name: str = "learnt"
    _read: dict[str, tuple[float, tuple[LearntExample, ...]]] = field(factory=dict, init=False)
    """Group to when its examples were read, and what they are."""

    async def receive(self, record: Record) -> None:
        if isinstance(record, Feedback) and record.route is not None:
            self._read.pop(record.group, None)

    async def examples(self, group: str) -> tuple[LearntExample, ...]:
        """Return the examples that a group has."""
        now_s = self.clock.monotonic_s()
        read_s, examples = self._read.get(group, (float("-inf"), ()))
        if now_s - read_s > EVERY_S:
            examples = await self._from_log(group)
            self._read[group] = (now_s, examples)
        return examples

    async def _from_log(self, group: str) -> tuple[LearntExample, ...]:
        said: dict[TurnId, str] = {}
        async for feedback in self.reader.feedback(group, since=self.clock.now() - WINDOW):
            route = self.meant(feedback.route)
            if route is not None:
                said.pop(feedback.turn_id, None)  # The last word on a turn counts, as the newest.
                said[feedback.turn_id] = route
        kept: dict[str, list[LearntExample]] = {}
        for turn_id, route in reversed(said.items()):
            examples = kept.setdefault(route, [])
            if len(examples) < PER_ROUTE and (text := await self._text(group, turn_id)):
                examples.append(LearntExample(text=text, route=route))
        return tuple(example for examples in kept.values() for example in examples)

    async def _text(self, group: str, turn_id: TurnId) -> str:
        turn = await self.reader.interaction(group, turn_id)
        asked = [m.text for m in turn.new_messages if m.role == "user"] if turn else []
        return asked[-1].strip() if asked else ""

    def meant(self, said: str | None) -> str | None:
        """Find the route that feedback means: by its name, or by its target if only one has it."""
        if said is None or said in self.routes:
            return said
        routes = self.routes.values()
        aimed = [route.name for route in routes if said in (*route.models, route.agent)]
        return aimed[0] if len(aimed) == 1 else None
