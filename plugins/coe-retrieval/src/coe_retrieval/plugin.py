"""The plugin `retrieval`: find passages by their words and by their meaning."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from attrs import define, field

from coe_core.hookspec import hookimpl
from coe_core.service import (
    Clock,
    Deployment,
    Embedder,
    KnowledgeIndex,
    KnowledgeStore,
    RecordReader,
    Service,
)
from coe_retrieval.index import PassageIndex
from coe_retrieval.settings import Settings
from coe_retrieval.term import Reading, terms

if TYPE_CHECKING:
    from coe_core.compose import Context
    from coe_core.contract import Job, Monitor, Reranker, Retriever


@define(eq=False)
class RetrievalPlugin:
    settings: Settings
    provides = (KnowledgeIndex,)
    _index: PassageIndex | None = field(default=None, init=False)

    @hookimpl
    def coe_services(self, ctx: Context) -> Sequence[Service]:
        return [Service(contract=KnowledgeIndex, provider=self._made(ctx))]

    @hookimpl
    def coe_retrievers(self, ctx: Context) -> Sequence[Retriever]:
        from coe_retrieval.retriever import IndexRetriever

        return [IndexRetriever(self._made(ctx), ctx.need(KnowledgeStore))]

    @hookimpl
    def coe_rerankers(self, ctx: Context) -> Sequence[Reranker]:
        from coe_retrieval.embedding import Embedding
        from coe_retrieval.second import SecondEmbedder

        said, embedding = self.settings, Embedding(ctx.need(Embedder))
        return [SecondEmbedder(embedding, said.second_embedder, said.second_share)]

    @hookimpl
    def coe_jobs(self, ctx: Context) -> Sequence[Job]:
        from coe_retrieval.backlog import EmbeddingJob

        every = timedelta(seconds=self.settings.embed_s)
        index, deployment = self._made(ctx), ctx.need(Deployment)
        job = EmbeddingJob(index, deployment, self.settings.payer, every)
        index.embed = job.embed
        return [job]

    @hookimpl
    def coe_monitors(self, ctx: Context) -> Sequence[Monitor]:
        from coe_retrieval.monitor import IndexMonitor

        return [IndexMonitor(self._made(ctx), ctx.need(Clock))]

    def _made(self, ctx: Context) -> PassageIndex:
        if self._index is None:
            from coe_retrieval.embedding import Embedding
            from coe_retrieval.rerank import Reranking
            from coe_retrieval.vault import Vault

            said = self.settings
            reading: Reading = terms
            if said.morphemes:
                from coe_retrieval.morpheme import words_and_morphemes

                reading = words_and_morphemes
            uri = said.uri or str(ctx.data_dir / "retrieval")
            self._index = PassageIndex(
                store=ctx.need(KnowledgeStore),
                reader=ctx.need(RecordReader),
                clock=ctx.need(Clock),
                embedding=Embedding(ctx.need(Embedder)),
                vault=Vault(uri, said.storage),
                reranking=Reranking(
                    name=said.reranker, topk=said.rerank_topk, limit_s=said.rerank_s
                )
                if said.reranker
                else None,
                reading=reading,
            )
        return self._index
