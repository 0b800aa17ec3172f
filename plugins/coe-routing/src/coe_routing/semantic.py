"""The router by meaning: a request goes where the examples that it is like go."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Literal

from attrs import define, field, frozen
from loguru import logger

from coe_core.error import BudgetExceeded, CoeError
from coe_core.turn import Candidate, Route, Turn
from coe_routing.array import Array
from coe_routing.clarification import AGENT, asked_before
from coe_routing.classifier import NOTHING, Classifier, Lesson, Verdict
from coe_routing.destination import Destination
from coe_routing.embedding import Embedders, Shelf
from coe_routing.learnt import Learnt, LearntExample
from coe_routing.settings import RouteTable

SHOWN = 5
"""How many candidates are in the record."""
GROUPS = 32
"""How many groups' own classifiers are kept in memory."""
DESCRIPTION_WEIGHT = 0.5


@frozen(kw_only=True)
class Reading:
    """How a request was understood."""

    verdict: Verdict
    names: tuple[str, ...]
    """The routes, as the verdict's scores are ordered."""

    @property
    def best(self) -> str:
        """The likeliest route."""
        return self.names[self.verdict.best]

    @property
    def ranking(self) -> list[tuple[str, float]]:
        """Every route with its share of 1, the likeliest first."""
        shares = self.verdict.shares()
        return [(self.names[i], float(shares[i])) for i in (-shares).argsort(kind="stable")]


@lru_cache(maxsize=4)
def _fitted(lessons: tuple[Lesson, ...], vectors: tuple[bytes, ...], labels: int) -> Classifier:
    """Fit, once for what is alike: a deployment that is composed anew has the same examples,
    mostly, and replays of cases compose one for each.
    """
    import numpy as np

    rows = [np.frombuffer(each, "<f4").reshape(len(lessons), -1) for each in vectors]
    return Classifier.fit(lessons, rows, labels)


@define(eq=False)
class SemanticRouter:
    """Decides by examples, when it is sure enough; learns when it is first asked."""

    tables: Mapping[str, RouteTable]
    routes: Mapping[str, Destination]
    out_of_scope: tuple[str, ...]
    min_confidence: float
    unsure: Literal["default", "clarify"]
    embedders: Embedders
    shelf: Shelf
    learnt: Learnt | None
    name: str = "semantic"
    _fitted: dict[tuple[LearntExample, ...], Classifier] = field(factory=dict, init=False)
    """Learnt examples to what was made of them and of the settings' own; () for none."""
    _fitting: asyncio.Lock = field(factory=asyncio.Lock, init=False)

    async def route(self, turn: Turn) -> Route | None:
        if (reading := await self.read(turn)) is None:
            return None
        verdict, threshold = reading.verdict, self.threshold(turn)
        candidates = self._candidates(reading)
        if verdict.confidence >= threshold:
            reason = f"it is like the examples of {reading.best!r}"
            return self.routes[reading.best].route(
                turn, confidence=verdict.confidence, reason=reason, candidates=candidates
            )
        if self.unsure == "clarify" and verdict.scope >= threshold and len(candidates) > 1:
            return Route(
                agent=AGENT,
                confidence=verdict.confidence,
                reason=f"it may mean {candidates[0].reason} or {candidates[1].reason}",
                candidates=candidates,
            )
        return None

    def threshold(self, turn: Turn) -> float:
        """Return the confidence from which on the router decides for this turn."""
        value: float = turn.params.get("min_confidence", self.min_confidence)
        return value

    async def abstention(self, turn: Turn) -> str:
        """Say why the router leaves a turn to the others."""
        if not self._examples(()):
            return "no route has an example or a description"
        if (reading := await self.read(turn)) is None:
            return "there is no text to go by, or no embedder, or no route for the group"
        verdict = reading.verdict
        likely = f"{reading.best!r} is the likeliest, but only {verdict.confidence:.2f} sure"
        return f"{likely} (in scope at all: {verdict.scope:.2f}); {self.threshold(turn):g} is asked"

    async def likeliest(self, turn: Turn) -> list[str]:
        """Name the routes, the likeliest first."""
        reading = await self.read(turn)
        return [name for name, _ in reading.ranking] if reading is not None else []

    async def read(self, turn: Turn) -> Reading | None:
        """Understand a turn; None when there is nothing to go by."""
        text = turn.request.text.strip()  # As retrieval seeks it: one question, embedded once.
        if (before := asked_before(turn)) is not None:
            text = f"{before[1]}\n{text}"
        readings = await self.read_all([text], turn)
        return readings[0] if readings else None

    async def read_all(self, texts: Sequence[str], turn: Turn) -> list[Reading]:
        """Understand several texts as the turn's group; [] when there is nothing to go by."""
        admitted = [name for name, route in self.routes.items() if route.admits(turn)]
        if not admitted or not all(text.strip() for text in texts):
            return []
        try:
            classifier = await self._classifier(turn)
            if classifier is None:
                return []
            vectors = await self.embedders.vectors(texts, turn)
        except BudgetExceeded:
            raise
        except CoeError as error:
            logger.bind(code=error.code, error=error.message).warning("nothing could be embedded")
            return []
        names, allowed = tuple(self.tables), self._allowed(admitted)
        verdicts = (
            classifier.judge(text, rows, allowed)
            for text, *rows in zip(texts, *vectors, strict=True)
        )
        return [Reading(verdict=verdict, names=names) for verdict in verdicts]

    def _allowed(self, admitted: list[str]) -> Array | None:
        if len(admitted) == len(self.tables):
            return None
        import numpy as np

        return np.array([name in admitted for name in self.tables])

    async def _classifier(self, turn: Turn) -> Classifier | None:
        learnt = await self.learnt.examples(turn.group) if self.learnt is not None else ()
        if (made := self._fitted.get(learnt)) is not None:
            return made
        if not (lessons := self._examples(learnt)):
            return None
        async with self._fitting:
            if (made := self._fitted.get(learnt)) is not None:
                return made
            texts = [lesson.text for lesson in lessons]
            vectors = await self.shelf.vectors(texts, self.embedders, turn)
            known = tuple(lessons), tuple(each.tobytes() for each in vectors), len(self.tables)
            made = await asyncio.to_thread(_fitted, *known)
            self._keep(learnt, made)
        return made

    def _keep(self, learnt: tuple[LearntExample, ...], made: Classifier) -> None:
        own = [key for key in self._fitted if key]
        for old in own[: len(own) + 1 - GROUPS]:
            del self._fitted[old]
        self._fitted[learnt] = made

    def _examples(self, learnt: tuple[LearntExample, ...]) -> list[Lesson]:
        """Return every example once, in an order that does not depend on that of the settings."""
        found: dict[tuple[str, int], float] = {}
        for label, table in enumerate(self.tables.values()):
            if table.description.strip():
                found[table.description, label] = DESCRIPTION_WEIGHT
            found |= {(text, label): 1.0 for text in table.examples if text.strip()}
        label_of = {name: label for label, name in enumerate(self.tables)}
        found |= {(example.text, label_of[example.route]): 1.0 for example in learnt}
        if found:
            found |= {(text, NOTHING): 1.0 for text in self.out_of_scope if text.strip()}
        return [Lesson(text=t, label=label, weight=w) for (t, label), w in sorted(found.items())]

    def _candidates(self, reading: Reading) -> tuple[Candidate, ...]:
        return tuple(
            Candidate(target=self.routes[name].target, score=share, reason=f"route {name!r}")
            for name, share in reading.ranking[:SHOWN]
            if share > 0
        )
