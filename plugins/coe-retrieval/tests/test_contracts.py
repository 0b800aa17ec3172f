"""What the plugin provides and contributes keeps the laws of its kind."""

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from coe_retrieval.backlog import EmbeddingJob
from coe_retrieval.index import PassageIndex
from coe_retrieval.monitor import IndexMonitor
from coe_retrieval.plugin import RetrievalPlugin

from coe_core.service import Clock, KnowledgeStore
from coe_core.testing import (
    JobContract,
    KnowledgeIndexContract,
    MonitorContract,
    PluginContract,
    scripted_application,
)
from coe_core.testing.knowledge import MemoryKnowledgePlugin, MemoryKnowledgeStore

from .conftest import TopicProvider, filled, index_of, job_of


class TestPassageIndex(KnowledgeIndexContract):
    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path) -> None:
        self.folder = tmp_path

    def make(self) -> Callable[[KnowledgeStore], PassageIndex]:
        return lambda store: index_of(store, scripted_application(), self.folder)


class TestEmbeddingJob(JobContract):
    examples = 3

    async def make(self) -> AsyncIterator[EmbeddingJob]:
        application = scripted_application(TopicProvider())
        with TemporaryDirectory() as folder:
            index = index_of(await filled(), application, Path(folder))
            yield job_of(index, application)
            await index.close()


class TestMonitor(MonitorContract):
    def make(self) -> Iterator[IndexMonitor]:
        application = scripted_application()
        index = index_of(MemoryKnowledgeStore(), application, Path("nowhere"))
        return IndexMonitor(index, application.need(Clock))


class TestPlugin(PluginContract):
    name = "retrieval"
    others = {"memory": MemoryKnowledgePlugin}

    def make(self) -> type[RetrievalPlugin]:
        return RetrievalPlugin
