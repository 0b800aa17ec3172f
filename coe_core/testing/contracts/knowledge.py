"""The laws of knowledge stores."""

from __future__ import annotations

from attrs import evolve
from hypothesis import strategies as st

from coe_core.card import Card
from coe_core.service import KnowledgeStore
from coe_core.testing.contracts.component import ServiceContract, untouched
from coe_core.testing.contracts.law import law
from coe_core.testing.contracts.retriever import check_passages
from coe_core.testing.strategies import cards, texts

LAYERS = ("global", "group:research", "group:support")
SOME = st.lists(cards(st.sampled_from(LAYERS)), max_size=4, unique_by=lambda card: card.id)
ASKED = st.lists(st.sampled_from(LAYERS), unique=True)


class KnowledgeStoreContract(ServiceContract[KnowledgeStore]):
    """What holds of every knowledge store. `make` returns an empty one."""

    contract = KnowledgeStore

    @law(some=SOME, asked=ASKED)
    async def test_returns_the_cards_of_the_layers(
        self, store: KnowledgeStore, some: list[Card], asked: list[str]
    ) -> None:
        """Cards come back equal, by id, from the layers asked for and no other."""
        with untouched(some):
            for card in some:
                await store.put_card(card)
        wanted = sorted((card for card in some if card.layer in asked), key=lambda card: card.id)
        found = list(await store.cards(asked))
        assert found == wanted, f"of the layers {asked} there are {wanted!r}, found {found!r}"

    @law(card=cards(st.just("global")), text=texts())
    async def test_replaces_a_card(self, store: KnowledgeStore, card: Card, text: str) -> None:
        """A card that is put again replaces the one with its id."""
        await store.put_card(card)
        await store.put_card(evolve(card, text=text))
        found = [each.text for each in await store.cards(["global"])]
        assert found == [text], f"put twice, the last time with {text!r}, there is {found!r}"

    @law(some=SOME, asked=ASKED, text=texts(), limit=st.integers(1, 3))
    async def test_searches_within_the_layers(
        self,
        store: KnowledgeStore,
        some: list[Card],
        asked: list[str],
        text: str,
        limit: int,
    ) -> None:
        """A search for any text finds at most `limit` passages, best first, of the layers asked
        for and no other.
        """
        for card in some:
            await store.put_card(card)
        found = await store.search(text, asked, limit=limit)
        check_passages(found)
        assert len(found) <= limit, f"at most {limit} were asked for, {len(found)} came"
        strangers = {passage.layer for passage in found} - set(asked)
        assert not strangers, f"asked for {asked}, found passages of {sorted(strangers)}"
