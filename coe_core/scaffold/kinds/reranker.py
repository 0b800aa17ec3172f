"""Put passages that say the question's words close together first."""

from collections.abc import Sequence

from attrs import frozen

from coe_core import Passage, Payer, hookimpl
from coe_core.compose import Context


@frozen
class ExampleReranker:
    name: str = "example"

    async def rerank(
        self, text: str, passages: Sequence[Passage], *, parent: Payer
    ) -> Sequence[float]:
        asked = set(text.casefold().split())
        return [self.nearness(asked, passage.text.casefold().split()) for passage in passages]

    def nearness(self, asked: set[str], words: list[str]) -> float:
        places = [place for place, word in enumerate(words) if word in asked]
        if not places:
            return 0.0
        return len(places) / max(len(asked), 1 + places[-1] - places[0])


@frozen
class ExamplePlugin:
    @hookimpl
    def coe_rerankers(self, ctx: Context) -> list[ExampleReranker]:
        return [ExampleReranker()]
