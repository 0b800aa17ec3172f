"""Find passages that share words with what is sought."""

from collections.abc import AsyncIterator, Sequence

from attrs import define, evolve, field, frozen

from coe_core import KnowledgeIndex, KnowledgeStore, Passage, Payer, SearchQuery, Service, hookimpl
from coe_core.clock import SystemClock
from coe_core.compose import Context
from coe_core.knowledge import Indexed
from coe_core.runner import Runner


@define
class ExampleKnowledgeIndex:
    store: KnowledgeStore
    cursor: str = field(default="", init=False)
    known: dict[str, Passage] = field(factory=dict, init=False)

    async def search(self, query: SearchQuery, *, parent: Payer) -> Sequence[Passage]:
        await self.catch_up()
        asked = set(query.text.casefold().split())
        found = [
            evolve(passage, score=len(shared) / len(asked), reason=f"it has {' '.join(shared)}")
            for passage in self.known.values()
            if (shared := sorted(asked & set(passage.text.casefold().split())))
        ]
        return query.best(found, SystemClock().now())

    async def rebuild(self, runner: Runner | None = None) -> AsyncIterator[Indexed]:
        self.cursor, self.known = "", {}
        await self.catch_up()
        yield Indexed(done=len(self.known), total=len(self.known))

    async def catch_up(self) -> None:
        async for changes in self.store.follow(self.cursor):
            for gone in changes.removed:
                self.known.pop(gone, None)
            self.known.update({passage.id: passage for passage in changes.put})
            self.cursor = changes.cursor


@frozen
class ExamplePlugin:
    provides = (KnowledgeIndex,)

    @hookimpl
    def coe_services(self, ctx: Context) -> list[Service]:
        index = ExampleKnowledgeIndex(ctx.need(KnowledgeStore))
        return [Service(contract=KnowledgeIndex, provider=index)]
