"""Keep cards in memory, for a deployment that may forget them."""

from collections.abc import Sequence

from attrs import define, field, frozen

from coe_core import Card, KnowledgeStore, Passage, Service, hookimpl
from coe_core.compose import Context


@define
class ExampleKnowledgeStore:
    by_id: dict[str, Card] = field(factory=dict, init=False)

    async def put_card(self, card: Card) -> None:
        self.by_id[card.id] = card

    async def cards(self, layers: Sequence[str]) -> Sequence[Card]:
        return [self.by_id[each] for each in sorted(self.by_id) if self.by_id[each].layer in layers]

    async def search(self, text: str, layers: Sequence[str], *, limit: int) -> Sequence[Passage]:
        asked = set(text.casefold().split())
        found = [
            Passage(id=card.id, text=card.text, layer=card.layer, source=card.id, score=score)
            for card in await self.cards(layers)
            if (score := float(len(asked & set(card.text.casefold().split())))) > 0
        ]
        return sorted(found, key=lambda passage: -passage.score)[:limit]


@frozen
class ExamplePlugin:
    @hookimpl
    def coe_services(self, ctx: Context) -> list[Service]:
        return [Service(contract=KnowledgeStore, provider=ExampleKnowledgeStore())]
