"""Searching, by whatever index is installed."""

from __future__ import annotations

from collections.abc import Sequence

from coe_core.application import Application
from coe_core.error import MissingService
from coe_core.job import working
from coe_core.knowledge import SearchQuery
from coe_core.service import KnowledgeIndex
from coe_core.turn import Passage


class NoIndex(MissingService):
    """Nothing that is installed searches."""

    status = 501


def index_of(application: Application) -> KnowledgeIndex:
    """Return the index. Raises `NoIndex`, which says what to install."""
    try:
        return application.need(KnowledgeIndex)
    except MissingService:
        raise NoIndex(
            "no index of the knowledge is in force: install coe-retrieval, or see with `coe "
            "plugins` why it is not"
        ) from None


async def search(application: Application, query: SearchQuery, group: str) -> Sequence[Passage]:
    """Search outside a turn; the group pays for embedding the query."""
    index = index_of(application)
    async with working(application, "knowledge", group) as work:
        return await index.search(query, parent=work)
