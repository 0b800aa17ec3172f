"""An index over a store in memory, and an embedder that needs no weights."""

import zlib
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from attrs import define, evolve, field
from coe_retrieval.backlog import EmbeddingJob
from coe_retrieval.embedding import Embedding
from coe_retrieval.index import PassageIndex
from coe_retrieval.vault import Vault

from coe_core.application import Application
from coe_core.error import ContextTooLong
from coe_core.knowledge import Document
from coe_core.model import Model, Usage, Vectors
from coe_core.request import EmbeddingRequest
from coe_core.service import Clock, Embedder, KnowledgeStore, RecordReader
from coe_core.settings import CoeTable, Settings
from coe_core.testing import (
    ScriptedProvider,
    StandingDeployment,
    scripted_application,
)
from coe_core.testing.knowledge import MemoryKnowledgeStore
from coe_core.turn import GLOBAL, Passage

TOPICS = (
    ("휴가", "연차", "쉬는", "vacation", "leave"),
    ("환불", "반품", "돈을", "refund", "money"),
    ("서버", "배포", "올리는", "deploy", "server"),
)


@define
class TopicProvider(ScriptedProvider):
    """Embeds texts by what they are about, whatever the words, and a little by their words."""

    dimensions: int = 32
    longest: int = 10_000
    embedded: list[str] = field(factory=list)

    async def embed(self, model: Model, request: EmbeddingRequest, *, group: str) -> Vectors:
        if any(len(text) > self.longest for text in request.input):
            raise ContextTooLong("too long")
        self.embedded += request.input
        return Vectors.of([self._row(text) for text in request.input], Usage(input_tokens=1))

    def _row(self, text: str) -> list[float]:
        row = [0.01] * self.dimensions
        for number, words in enumerate(TOPICS):
            row[number] += 5.0 * any(word in text.casefold() for word in words)
        for word in text.casefold().split():
            row[len(TOPICS) + zlib.crc32(word.encode()) % (self.dimensions - len(TOPICS))] += 1.0
        return row


@pytest.fixture
def provider() -> TopicProvider:
    return TopicProvider()


@pytest.fixture
def scripted(provider: TopicProvider) -> Application:
    application = scripted_application(provider)
    return evolve(application, settings=Settings(coe=CoeTable(embedder="scripted-embed")))


@pytest.fixture
def store() -> MemoryKnowledgeStore:
    return MemoryKnowledgeStore()


MakeIndex = Callable[..., PassageIndex]


def index_of(store: KnowledgeStore, application: Application, folder: Path) -> PassageIndex:
    return PassageIndex(
        store=store,
        reader=application.need(RecordReader),
        clock=application.need(Clock),
        embedding=Embedding(application.need(Embedder)),
        vault=Vault(str(folder / "vectors")),
    )


@pytest.fixture
def make_index(store: MemoryKnowledgeStore, scripted: Application, tmp_path: Path) -> MakeIndex:
    def make(application: Application = scripted) -> PassageIndex:
        return index_of(store, application, tmp_path)

    return make


def job_of(index: PassageIndex, application: Application) -> EmbeddingJob:
    return EmbeddingJob(index, StandingDeployment(application), "default", timedelta(seconds=5))


async def filled() -> MemoryKnowledgeStore:
    """Make a store with a document in a group's layer and one in the global layer."""
    store = MemoryKnowledgeStore()
    await add(store, "group:default", HANDBOOK)
    await add(store, GLOBAL, HANDBOOK[:1])
    return store


async def add(
    store: KnowledgeStore, layer: str, notes: Sequence[str], *, source: str = "handbook.md"
) -> None:
    """Put a document with a passage of each note."""
    id_ = f"{layer}/{source}"
    document = Document(
        id=id_,
        layer=layer,
        source=source,
        title="",
        media_type="text/markdown",
        sha256="0" * 64,
        size_bytes=1,
        added_at=datetime(2026, 11, 27, tzinfo=UTC),
    )
    passages = [
        Passage(
            id=f"{id_}#{position}",
            text=text,
            layer=layer,
            source=source,
            item=id_,
            kind="document",
            position=position,
        )
        for position, text in enumerate(notes)
    ]
    await store.put_document(document, passages)


HANDBOOK = (
    "정규직의 연차는 매년 15일이며 최대 25일까지 늘어납니다.",
    "Deploy the payment server only after two approvals.",
    "반품한 상품은 7일 안에 환불합니다.",
    "The canteen opens at noon.",
)
