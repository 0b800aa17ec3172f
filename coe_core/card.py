"""Cards: pieces of knowledge, and how they are judged."""

from __future__ import annotations

from datetime import datetime
from typing import Literal, TypeAlias, get_args

from attrs import frozen

from coe_core.record import Pointer

CardKind: TypeAlias = Literal["fact", "procedure", "pitfall", "answer"]
CARD_KINDS: tuple[CardKind, ...] = get_args(CardKind)
"""What the passage of a card may be: no document's and no turn's is any of these."""


@frozen(kw_only=True)
class Card:
    """A short piece of knowledge, written by somebody or distilled from the log."""

    id: str
    layer: str
    kind: CardKind
    text: str
    title: str = ""
    evidence: tuple[Pointer, ...] = ()
    quality_score: float | None = None
    """0 to 1, what its ratings say of it; None while there are none."""
    feedback_count: int = 0
    """Ratings of answers that cite it, those too that say neither."""
    used: int = 0
    """Answers that cite it."""
    helped: int = 0
    """Good ratings among them."""
    hurt: int = 0
    """Bad ratings among them."""
    valid_until: datetime | None = None
    state: Literal["candidate", "active", "held", "expired"] = "candidate"
    reason: str = ""


@frozen(kw_only=True)
class Judgement:
    """What a promotion policy says of a card."""

    decision: Literal["promote", "hold", "keep", "expire"]
    reasons: tuple[str, ...]
