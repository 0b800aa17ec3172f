"""What is known: documents beside cards, how they change, and what is asked of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Literal, TypeAlias

from attrs import field, frozen
from attrs.validators import ge

from coe_core.card import Card
from coe_core.identity import SessionId
from coe_core.turn import GLOBAL, Passage


@frozen(kw_only=True)
class Document:
    """Something written that was added whole, and is found in passages."""

    id: str
    layer: str
    """`global` or `group:NAME`."""
    source: str
    """Where it comes from, fit to be cited: a path, an address, a name. One of a layer's documents
    has it.
    """
    title: str
    media_type: str
    language: str = ""
    """`ko`, `en`, ...; "" where it is not known."""
    sha256: str
    """Of the bytes that were added."""
    size_bytes: int
    state: Literal["active", "held", "expired"] = "active"
    """Only what is active is found."""
    reason: str = ""
    """Why it is in that state."""
    valid_until: datetime | None = None
    added_at: datetime
    added_by: str = ""
    """The key id, or the name of the machine's user."""


Item: TypeAlias = Document | Card
"""What knowledge consists of."""


def card_passage(card: Card) -> Passage:
    """Return the one passage of a card."""
    return Passage(
        id=card.id,
        text=card.text,
        layer=card.layer,
        source=card.title.strip() or f"{card.kind} {card.id}",
        item=card.id,
        kind=card.kind,
        title=card.title,
        valid_until=card.valid_until,
    )


@frozen(kw_only=True)
class PassageChanges:
    """Some changes of what may be found, and where the next begin."""

    put: tuple[Passage, ...] = ()
    """New, or to be found in the place of the one with the id."""
    removed: tuple[str, ...] = ()
    """Not to be found any more: ids of passages."""
    cursor: str


@frozen(kw_only=True)
class SearchQuery:
    """What is sought, and how much of it. All filters must hold; an empty one always does."""

    text: str
    layers: tuple[str, ...]
    global_topk: int = field(default=5, validator=ge(0))
    """The most passages of the layer `global`."""
    group_topk: int = field(default=5, validator=ge(0))
    """The most of each layer of a group, its earlier turns apart."""
    session_topk: int = field(default=0, validator=ge(0))
    """The most of a group's earlier turns."""
    min_score: float = 0.0
    kinds: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()
    items: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    """Patterns as a shell has them: `handbook/*.md`."""
    session: SessionId | None = None
    """The conversation that asks: its own turns are not found again."""

    def admits(self, passage: Passage, now: datetime) -> bool:
        """Whether a passage lies in the layers, passes the filters and is valid still."""
        return (
            passage.layer in self.layers
            and (not self.kinds or passage.kind in self.kinds)
            and (not self.languages or passage.language in self.languages)
            and (not self.items or passage.item in self.items)
            and (not self.sources or any(fnmatchcase(passage.source, s) for s in self.sources))
            and (passage.valid_until is None or now < passage.valid_until)
        )

    def best(self, scored: Iterable[Passage], now: datetime) -> Sequence[Passage]:
        """Choose from passages with scores what is asked for, best first."""
        counts: Counter[tuple[str, bool]] = Counter()
        chosen = []
        for passage in sorted(scored, key=lambda p: (-p.score, p.id)):
            share = passage.layer, passage.kind == "turn"
            if passage.score < self.min_score or counts[share] >= self._topk(*share):
                continue
            if self.admits(passage, now):
                counts[share] += 1
                chosen.append(passage)
        return chosen

    def _topk(self, layer: str, is_turn: bool) -> int:  # noqa: FBT001 half of a key
        if is_turn:
            return self.session_topk
        return self.global_topk if layer == GLOBAL else self.group_topk


@frozen(kw_only=True)
class Indexed:
    """How far an index has come."""

    done: int
    total: int
    """In passages."""
    failed: Mapping[str, str] = field(factory=dict)
    """Layer to the code of the error for which some of it cannot be found by its meaning yet."""
