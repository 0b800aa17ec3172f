"""Searching, by whatever index is installed."""

from __future__ import annotations

from attrs import frozen

from coe_core.application import Application
from coe_core.card import CARD_KINDS, Card
from coe_core.error import InvalidField, MissingService
from coe_core.job import working
from coe_core.knowledge import SearchQuery
from coe_core.service import KnowledgeIndex, KnowledgeStore
from coe_core.turn import Passage


class NoIndex(MissingService):
    """Nothing that is installed searches."""

    status = 501


@frozen(kw_only=True)
class Found:
    """Passages, best first."""

    passages: tuple[Passage, ...]
    cards: tuple[Card, ...] = ()
    """The cards among them, with what became of them so far."""


def index_of(application: Application) -> KnowledgeIndex:
    """Return the index. Raises `NoIndex`, which says what to install."""
    try:
        return application.need(KnowledgeIndex)
    except MissingService:
        raise NoIndex(
            "no index of the knowledge is in force: install coe-retrieval, or see with `coe "
            "plugins` why it is not"
        ) from None


async def search(application: Application, query: SearchQuery, group: str) -> Found:
    """Search outside a turn; the group pays for embedding the query. Raises `InvalidField` where
    nothing is sought: to an embedder nothing too is near to something.
    """
    if not query.text.strip():
        raise InvalidField("say what is sought", param="text")
    index, store = index_of(application), application.need(KnowledgeStore)
    async with working(application, "knowledge", group) as work:
        passages = await index.search(query, parent=work)
    ids = [passage.item for passage in passages if passage.kind in CARD_KINDS]
    items = [await store.item(query.layers, id_) for id_ in ids]
    cards = tuple(item for item in items if isinstance(item, Card))
    return Found(passages=tuple(passages), cards=cards)
