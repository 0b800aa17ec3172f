"""The laws of promotion policies."""

from __future__ import annotations

from datetime import datetime

from coe_core.card import Card, Judgement
from coe_core.contract import PromotionPolicy
from coe_core.testing.contracts.component import ComponentContract, untouched
from coe_core.testing.contracts.law import law
from coe_core.testing.strategies import cards, instants

DECISIONS = ("promote", "hold", "keep", "expire")


class PromotionPolicyContract(ComponentContract[PromotionPolicy]):
    """What holds of every promotion policy."""

    contract = PromotionPolicy

    @law(card=cards(), now=instants())
    async def test_judges_with_reasons(
        self, policy: PromotionPolicy, card: Card, now: datetime
    ) -> None:
        """Any card gets one of the four decisions, with at least one reason."""
        judgement = policy.judge(card, now)
        assert isinstance(judgement, Judgement), (
            f"judge() returned {judgement!r}; return coe_core.Judgement"
        )
        assert judgement.decision in DECISIONS, (
            f"decision is {judgement.decision!r}; it is one of {', '.join(DECISIONS)}"
        )
        assert judgement.reasons, "a judgement has no reasons; say why, people review it"
        assert all(reason.strip() for reason in judgement.reasons), "a reason is empty"

    @law(card=cards(), now=instants())
    async def test_judges_alike(self, policy: PromotionPolicy, card: Card, now: datetime) -> None:
        """The same card at the same time gets the same judgement, and is left alone."""
        with untouched(card):
            first, second = policy.judge(card, now), policy.judge(card, now)
        assert first == second, (
            f"one card was judged {first!r}, then {second!r}; take the time from `now`, "
            "never from the clock, and draw no lots"
        )
