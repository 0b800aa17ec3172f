"""Find notes that share words with the question."""

from collections.abc import Mapping, Sequence

from attrs import field, frozen

from coe_core import Passage, Turn, hookimpl
from coe_core.compose import Context


@frozen(kw_only=True)
class Settings:
    notes: dict[str, dict[str, str]] = field(factory=dict)
    """Layer (`global` or `group:NAME`) to notes; each is a title and a text."""


@frozen
class ExampleRetriever:
    notes: Mapping[str, Mapping[str, str]] = field(
        factory=lambda: {"global": {"refunds": "환불 takes three days. What is a refund?"}}
    )
    name: str = "example"

    async def retrieve(self, turn: Turn, layers: tuple[str, ...]) -> Sequence[Passage]:
        asked = set(turn.request.text.casefold().split())
        found = [
            Passage(id=f"{layer}/{title}", text=text, layer=layer, source=title, score=score)
            for layer in layers
            for title, text in self.notes.get(layer, {}).items()
            if (score := len(asked & set(text.casefold().split())) / (len(asked) or 1)) > 0
        ]
        return sorted(found, key=lambda passage: -passage.score)


@frozen
class ExamplePlugin:
    settings: Settings

    @hookimpl
    def coe_retrievers(self, ctx: Context) -> list[ExampleRetriever]:
        return [ExampleRetriever(self.settings.notes)]
