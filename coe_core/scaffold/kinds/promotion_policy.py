"""Promote a card once it has helped often enough."""

from datetime import datetime

from attrs import frozen

from coe_core import Card, hookimpl
from coe_core.card import Judgement
from coe_core.compose import Context


@frozen(kw_only=True)
class Settings:
    helped: int = 5
    """So often must a card have helped, and more often than it has hurt."""


@frozen
class ExamplePromotionPolicy:
    helped: int = 5
    name: str = "example"

    def judge(self, card: Card, now: datetime) -> Judgement:
        if card.valid_until is not None and card.valid_until <= now:
            return Judgement(decision="expire", reasons=(f"it was valid until {card.valid_until}",))
        if card.hurt > card.helped:
            return Judgement(decision="hold", reasons=(f"it hurt {card.hurt} times",))
        if card.helped >= self.helped:
            return Judgement(decision="promote", reasons=(f"it helped {card.helped} times",))
        return Judgement(decision="keep", reasons=(f"it has helped {card.helped} times so far",))


@frozen
class ExamplePlugin:
    settings: Settings

    @hookimpl
    def coe_promotion_policies(self, ctx: Context) -> list[ExamplePromotionPolicy]:
        return [ExamplePromotionPolicy(self.settings.helped)]
