"""Groups are separate: nothing that other groups have or do changes what one of them is shown.

The same searches are made in two worlds. In one there are a group and the global layer alone; in
the other there are also groups that have the same words, say them, and change their minds.
Passages, order, scores and reasons must be equal to the last bit.
"""

import random
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import count

import numpy as np
import pytest
from coe_retrieval.content import digest
from coe_retrieval.question import Meaning
from coe_retrieval.shelves import Shelves

from coe_core.identity import SessionId, TurnId
from coe_core.knowledge import PassageChanges, SearchQuery
from coe_core.message import assistant, user
from coe_core.testing import make_interaction
from coe_core.turn import GLOBAL, Passage, group_layer

AT = datetime(2026, 11, 27, tzinfo=UTC)
OWN = group_layer("law")
OTHERS = ("sales", "LAW", "law ", "law/turns", "lawyers")
WORDS = (
    *("연차", "환불", "규정", "서버", "배포", "merger", "secret", "budget", "15", "30"),
    *("not", "server", "leave", "kim", "회의실", "회의록", "project", "falcon"),
)
PERIODS = ("", "", "", " 10월", " in November", " 2026-11-20")
KINDS = ("document", "fact", "turn")


class World:
    """Shelves, and what has been put there; what others do is left out of the one that is alone."""

    def __init__(self, seed: int, *, is_crowded: bool) -> None:
        """Fill it."""
        self.shelves, self.is_crowded = Shelves(), is_crowded
        self._own, self._others = random.Random(seed), random.Random(f"others {seed}")
        self._changes = count()
        for _ in range(4):
            self.live()

    def live(self) -> None:
        """Let the group change something, and others too."""
        for layer in (OWN, GLOBAL):
            self._change(layer, self._own, 3)
        self._say("law", self._own)
        for group in OTHERS if self.is_crowded else ():
            self._change(group_layer(group), self._others, 4)
            self._say(group, self._others)
        for shelf in self.shelves.by_name.values():
            shelf.keep({digest(text): _vector(text) for text in shelf.pending.values()})

    def _change(self, layer: str, choose: random.Random, most: int) -> None:
        put = [self._passage(layer, choose) for _ in range(choose.randint(1, most))]
        gone = f"{layer}/{choose.randrange(8)}"
        cursor = str(next(self._changes))
        self.shelves.change(PassageChanges(put=tuple(put), removed=(gone,), cursor=cursor))

    def _passage(self, layer: str, choose: random.Random) -> Passage:
        item = f"{layer}/{choose.randrange(8)}"
        kind = choose.choice(KINDS[:2])
        return Passage(
            id=item, text=_text(choose), layer=layer, source=f"{item}.md", item=item, kind=kind
        )

    def _say(self, group: str, choose: random.Random) -> None:
        asked, answered = _text(choose), _text(choose)
        turn = TurnId(f"{group} {asked} {answered}")
        said = make_interaction(
            id=turn,
            group=group,
            started_at=AT - timedelta(days=choose.randrange(60)),
            new_messages=(user(asked),),
            answer=(assistant(answered),),
        )
        self.shelves.record([said], str(next(self._changes)))

    def search(self, query: SearchQuery) -> Sequence[Passage]:
        return self.shelves.search(query, {"": Meaning(_vector(query.text), 0.1)}, AT)


def _text(choose: random.Random, least: int = 2, most: int = 9) -> str:
    return " ".join(choose.choices(WORDS, k=choose.randint(least, most)))


def _vector(text: str) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    """Make a vector of a text's words, so that texts with the same words are near."""
    vector = np.full(len(WORDS), 0.05, np.float32)
    for word in text.split():
        if word in WORDS:
            vector[WORDS.index(word)] += 1
    return vector


def queries(choose: random.Random) -> Iterator[SearchQuery]:
    """Ask anything, as the group law."""
    while True:
        yield SearchQuery(
            # What a probe costs is mostly the question's words.
            text=_text(choose, 1, 3) + choose.choice(PERIODS),
            layers=choose.choice([(OWN,), (OWN, GLOBAL), (GLOBAL,), (GLOBAL, OWN)]),
            global_topk=choose.randrange(4),
            group_topk=choose.choice([0, 1, 3, 100]),
            session_topk=choose.choice([0, 0, 0, 0, 0, 3]),
            min_score=choose.choice([0.0, 0.0, 0.3]),
            kinds=choose.choice([(), (), (choose.choice(KINDS),)]),
            sources=choose.choice([(), (), ("*",), (f"{OWN}/?.md",), ("group:sales/*",)]),
            session=choose.choice([None, SessionId("s"), SessionId("t")]),
        )


ROUND = 500
"""Probes between two changes of the worlds."""
AGE = 10_000
"""Probes between two worlds."""


@pytest.mark.parametrize("probes", [3_000, pytest.param(1_000_000, marks=pytest.mark.faults)])
def test_no_probe_tells_whether_there_are_other_groups(probes: int) -> None:
    asked = queries(random.Random(probes))
    found = 0
    for number in range(probes):
        if number % AGE == 0:
            alone, crowded = (World(number, is_crowded=crowd) for crowd in (False, True))
        elif number % ROUND == 0:
            alone.live()
            crowded.live()
        query = next(asked)
        mine, seen = alone.search(query), crowded.search(query)
        assert seen == mine, f"asked for {query!r}, another group's presence shows"
        assert {passage.layer for passage in seen} <= set(query.layers)
        found += len(seen)
    assert found > probes  # Else nothing was probed.
    assert len(crowded.shelves) > 2 * len(alone.shelves)
