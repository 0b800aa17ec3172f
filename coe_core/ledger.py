"""The ledger of a turn or a job: every call that was made for it, with tokens and cost."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from decimal import Decimal
from typing import Literal, TypeAlias

from attrs import define, field, frozen

from coe_core.identity import AttemptId
from coe_core.model import NO_USAGE, Usage, Vectors

Purpose: TypeAlias = str
"""What a call is for: `chat`, `embedding`, `summary`, `judge`, `routing`, ..."""


@frozen(kw_only=True)
class Attempt:
    """One call of a model, ended."""

    id: AttemptId
    purpose: Purpose
    model: str
    """The alias."""
    provider: str
    name: str
    """The provider's own name for the model."""
    started_at: datetime
    duration_s: float
    first_token_s: float | None = None
    usage: Usage = NO_USAGE
    cost_usd: Decimal | None = None
    """None when the model has no price: reported, never counted as zero."""
    price_version: str | None = None
    overspent_usd: Decimal = Decimal(0)
    """What was billed beyond the reservation."""
    outcome: Literal["ok", "failed", "cancelled"] = "ok"
    error_code: str | None = None
    error: str | None = None
    continues: AttemptId | None = None
    """The attempt whose broken stream this one went on with."""


@frozen(kw_only=True)
class Intent:
    """An attempt is about to start. Written without waiting for the disk, so that a killed process
    leaves no unknown cost.
    """

    attempt_id: AttemptId
    owner_id: str
    """The turn or the job."""
    group: str
    model: str
    purpose: Purpose
    reserved_usd: Decimal
    at: datetime


def answer_usage(attempts: Iterable[Attempt]) -> Usage:
    """Add up the tokens of the attempts that made a turn's answer: what its client is told."""
    made = (attempt.usage for attempt in attempts if attempt.purpose == "chat")
    return sum((usage for usage in made if usage.total_tokens), NO_USAGE)


@define
class Ledger:
    """Collects the attempts of one turn or job as they end."""

    owner_id: str
    attempts: list[Attempt] = field(factory=list)
    running: dict[AttemptId, Callable[[], None]] = field(factory=dict)
    """How to end each call that has begun and not ended, as cancelled."""
    questions: dict[tuple[str, tuple[str, ...]], Vectors] = field(factory=dict, repr=False)
    """By embedder and texts, the vectors of what was sought: several parts of a turn seek what is
    like the same question, and it is embedded, and paid for, once.
    """

    def cancel_running(self) -> None:
        """End what still runs: a caller may have dropped an answer without closing it."""
        for cancel in list(self.running.values()):
            cancel()

    @property
    def usage(self) -> Usage:
        """All tokens of all attempts."""
        return sum((attempt.usage for attempt in self.attempts), NO_USAGE)

    @property
    def cost_usd(self) -> Decimal:
        """The cost of all priced attempts."""
        return sum((a.cost_usd for a in self.attempts if a.cost_usd is not None), Decimal(0))
