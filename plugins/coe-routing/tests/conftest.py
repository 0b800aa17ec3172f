"""A deployment's embedder that needs no weights, and routes to try it on."""

import asyncio
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from attrs import define, field
from coe_routing.destination import destinations
from coe_routing.embedding import Embedders, Shelf
from coe_routing.learnt import Learnt
from coe_routing.semantic import SemanticRouter
from coe_routing.settings import RouteTable

from coe_core.application import Application
from coe_core.model import Model, Usage, Vectors
from coe_core.request import EmbeddingRequest
from coe_core.service import Clock, Embedder, RecordReader
from coe_core.testing import ScriptedProvider, scripted_application

DIMENSIONS = 64

ROUTES = {
    "refunds": RouteTable(
        description="Getting money back",
        examples=("I want my money back", "please refund the order", "환불해 주세요", "돈 돌려줘"),
        model="scripted",
    ),
    "code": RouteTable(
        description="Writing programs",
        examples=(
            "write a python function",
            "why does this loop hang",
            "코드 좀 고쳐줘",
            "SQL 짜줘",
        ),
        model="scripted",
        tools=("calculator",),
    ),
    "travel": RouteTable(
        examples=("book a flight to Busan", "find me a hotel", "출장 항공권 예약", "호텔 잡아줘"),
        agent="clarify",
        groups=("default", "travellers"),
        layers=("global",),
    ),
}


@define
class WordProvider(ScriptedProvider):
    """Embeds texts by their words, so that texts with words in common are alike."""

    embedded: int = 0
    stalls_after: int | None = None
    """After so many calls it hangs."""
    stalled: asyncio.Event = field(factory=asyncio.Event)

    async def embed(self, model: Model, request: EmbeddingRequest, *, group: str) -> Vectors:
        if self.stalls_after is not None:
            self.stalls_after -= 1
            if self.stalls_after < 0:
                self.stalled.set()
                await asyncio.Event().wait()
        self.embedded += len(request.input)
        return Vectors.of([_row(text) for text in request.input], Usage(input_tokens=1))


def _row(text: str) -> list[float]:
    row = [0.01] * DIMENSIONS
    for word in text.casefold().split():
        row[zlib.crc32(word.encode()) % DIMENSIONS] += 1.0
    return row


@pytest.fixture
def provider() -> WordProvider:
    return WordProvider()


@pytest.fixture
def application(provider: WordProvider) -> Application:
    return scripted_application(provider)


MakeRouter = Callable[..., SemanticRouter]


@pytest.fixture
def make_router(application: Application, tmp_path: Path) -> MakeRouter:
    def make(tables: dict[str, RouteTable] | None = None, **fields: object) -> SemanticRouter:
        return semantic_router(application, tmp_path / "routing", tables, **fields)

    return make


def semantic_router(
    application: Application,
    folder: Path,
    tables: dict[str, RouteTable] | None = None,
    **fields: object,
) -> SemanticRouter:
    tables = ROUTES if tables is None else tables
    routes = destinations(tables)
    told = {
        "tables": tables,
        "routes": routes,
        "out_of_scope": (),
        "min_confidence": 0.5,
        "unsure": "default",
        "embedders": Embedders(application.need(Embedder)),
        "shelf": Shelf(folder),
        "learnt": Learnt(application.need(RecordReader), application.need(Clock), routes),
    }
    return SemanticRouter(**(told | fields))  # type: ignore[arg-type]
