"""All shelves, and how they follow the store of knowledge and the log."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, TypeAlias

from attrs import define, evolve, field

from coe_core.identity import TurnId
from coe_core.knowledge import PassageChanges, SearchQuery
from coe_core.record import Interaction, Record
from coe_core.turn import GLOBAL, Passage
from coe_retrieval import conversation
from coe_retrieval.duplicate import alike
from coe_retrieval.question import Meaning, Question
from coe_retrieval.term import Reading, terms

if TYPE_CHECKING:
    from coe_retrieval.shelf import Shelf

ShelfName: TypeAlias = tuple[str, bool]
"""A layer, and whether it is that of its earlier turns."""


@define(eq=False)
class Shelves:
    """Not to be used from two threads at once; the cursors are for who feeds them."""

    reading: Reading = terms
    by_name: dict[ShelfName, Shelf] = field(factory=dict, init=False)
    """Replaced where a shelf is added: a dict that another thread goes through must not grow."""
    store_cursor: str = field(default="", init=False)
    log_cursor: str = field(default="", init=False)
    _layers: dict[str, str] = field(factory=dict, init=False)
    """Passage of the store to the layer that it lies in."""
    _last_said: dict[TurnId, str] = field(factory=dict, init=False)
    """Turn to its last passage."""

    def __len__(self) -> int:
        """Count the passages."""
        return sum(map(len, self.by_name.values()))

    def waiting(self, embedder: str) -> int:
        """Count the passages that have no vector of an embedder."""
        shelves = self.by_name.values()
        return sum(len(s.pending) if s.embedder == embedder else len(s) for s in shelves)

    def change(self, changes: PassageChanges) -> None:
        """Take in what changed in the store; a second time it changes nothing."""
        for passage_id in changes.removed:
            if (layer := self._layers.pop(passage_id, None)) is not None:
                self._shelf(layer).remove(passage_id)
        for passage in changes.put:
            if self._layers.get(passage.id, passage.layer) != passage.layer:
                self._shelf(self._layers[passage.id]).remove(passage.id)
            self._shelf(passage.layer).put(passage)
            self._layers[passage.id] = passage.layer
        for name, shelf in self.by_name.items():
            if shelf.is_worn:
                self.by_name[name] = shelf.renewed()
        self.store_cursor = changes.cursor

    def record(self, records: Iterable[Record], cursor: str) -> None:
        """Take in a stretch of the log."""
        for record in records:
            if isinstance(record, Interaction):
                self._say(record)
        self.log_cursor = cursor

    def sought(self, query: SearchQuery) -> dict[ShelfName, Shelf]:
        """Return the shelves that have something of what is asked for."""
        shares = [(layer, turns) for layer in query.layers for turns in (False, True)]
        found = {n: self.by_name[n] for n in shares if n in self.by_name and _asks(query, *n)}
        return {name: shelf for name, shelf in found.items() if len(shelf)}

    def search(
        self, query: SearchQuery, meanings: Mapping[str, Meaning | None], now: datetime
    ) -> Sequence[Passage] | None:
        """Find what is asked for on its shelves, each near duplicate once; None where a shelf has
        got vectors of an embedder that is none of those by which the question was embedded. ""
        stands for a shelf without.
        """
        own = conversation.spoken_in(query.session) if query.session is not None else None

        def admits(passage: Passage) -> bool:
            if own is not None and passage.kind == "turn" and passage.source.startswith(own):
                return False
            return query.admits(passage, now)

        most = max(query.global_topk, query.group_topk, query.session_topk)
        words, found = Question.read(query.text, self.reading), list[Passage]()
        for shelf in self.sought(query).values():
            embedder = shelf.embedder if shelf.has_vectors else ""
            if embedder not in meanings:
                return None
            question = evolve(words, meaning=meanings[embedder])
            found += islice(shelf.search(question, admits), most)
        return list(_once(query.best(found, now)))

    def _say(self, turn: Interaction) -> None:
        behind = self._last_said.get(turn.follows, "") if turn.follows is not None else ""
        for passage in conversation.passages(turn):
            shelf = self._shelf(passage.layer, of_turns=True)
            shelf.put(passage, behind=behind, on=turn.started_at.date())
            behind = passage.id
        self._last_said[turn.id] = behind

    def _shelf(self, layer: str, *, of_turns: bool = False) -> Shelf:
        if (shelf := self.by_name.get((layer, of_turns))) is None:
            # With the first passage, and not before: numpy is a good part of a server at rest.
            from coe_retrieval.shelf import Shelf

            shelf = Shelf(of_turns, self.reading)
            self.by_name = {**self.by_name, (layer, of_turns): shelf}
        return shelf


def _asks(query: SearchQuery, layer: str, of_turns: bool) -> bool:  # noqa: FBT001 half of a name
    if of_turns:
        return query.session_topk > 0
    return (query.global_topk if layer == GLOBAL else query.group_topk) > 0


def _once(found: Iterable[Passage]) -> Iterator[Passage]:
    """Leave out what nearly repeats a better one of another layer."""
    shown: list[Passage] = []
    for passage in found:
        if any(passage.layer != s.layer and alike(passage.text, s.text) for s in shown):
            continue
        shown.append(passage)
        yield passage
