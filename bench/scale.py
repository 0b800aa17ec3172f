"""What a layer of 100,000 passages costs: to fill, to keep in memory, to ask.

Run with `python bench/scale.py [PASSAGES [EMBEDDER]]`; without, 100,000 and each of the two bundled
embedders. All of it goes through a deployment's own store, index and embedder. Passages are
drawn word by word from the documents in specs/retrieval, questions are those beside them, and are
embedded when they are asked. The passages' vectors are drawn around some hundred centres, for to
embed them all takes up to an hour; what embedding costs is measured on a sample.

`python bench/scale.py recall FILE [EMBEDDER]` embeds a text a line, in earnest, and compares what
the index finds near with an exact search; the first hundred lines are the questions.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from coe_retrieval.array import Rows
from coe_retrieval.content import content, digest
from coe_retrieval.embedding import embedders
from coe_retrieval.index import PassageIndex
from coe_retrieval.matrix import Matrix

from coe_core.application import Application
from coe_core.host import Host
from coe_core.job import working
from coe_core.knowledge import Document, SearchQuery
from coe_core.request import EmbeddingRequest
from coe_core.service import Caller, KnowledgeIndex, KnowledgeStore
from coe_core.turn import GLOBAL, Passage

SPEC = Path(__file__).resolve().parent.parent / "specs" / "retrieval"
QUESTIONS = (SPEC / "questions.jsonl").read_text("utf-8")
PER_DOCUMENT, WORDS, ASKED, SAMPLE, TOP = 500, 45, 300, 128, 10
SETTINGS = """
[coe]
embedder = "{embedder}"
[plugins.retrieval]
embed_s = 1e6
"""
"""Nothing is embedded in the background meanwhile."""


def drawn(count: int) -> list[Passage]:
    """Draw passages whose words are as frequent as in real documents."""
    files = sorted((SPEC / "documents").glob("*.md"))
    words = np.array([w for f in files for w in f.read_text("utf-8").split()], object)
    random = np.random.default_rng(0)
    return [
        Passage(
            id=f"psg_{number}",
            text=" ".join(words[random.integers(0, len(words), WORDS)]),
            layer=GLOBAL,
            source=f"{number // PER_DOCUMENT}.md",
            item=f"doc_{number // PER_DOCUMENT}",
            kind="document",
            position=number % PER_DOCUMENT,
        )
        for number in range(count)
    ]


def clustered(count: int, dimensions: int) -> Rows:
    """Draw unit vectors around centres."""
    random = np.random.default_rng(1)
    centres = random.normal(size=(300, dimensions)).astype(np.float32)
    rows = centres[random.integers(0, len(centres), count)]
    rows += random.normal(size=rows.shape).astype(np.float32)
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


async def embed(application: Application, texts: Sequence[str]) -> Rows:
    """Embed texts as passages, sixteen at a time."""
    alias, rows = application.settings.coe.embedder, []
    for at in range(0, len(texts), 16):
        batch = tuple(texts[at : at + 16])
        request = EmbeddingRequest(model=alias, input=batch, purpose="passage")
        async with working(application, "bench", "default") as work:  # Which has its time.
            vectors = await application.need(Caller).embed(
                alias, request, purpose="embedding", parent=work
            )
        rows.append(np.frombuffer(vectors.data, "<f4").reshape(-1, vectors.dimensions))
    return np.concatenate(rows)


async def put(application: Application, passages: Sequence[Passage]) -> None:
    """Add passages, a document at a time."""
    store = application.need(KnowledgeStore)
    for at in range(0, len(passages), PER_DOCUMENT):
        some = passages[at : at + PER_DOCUMENT]
        document = Document(
            id=some[0].item,
            layer=GLOBAL,
            source=some[0].source,
            title="",
            media_type="text/markdown",
            sha256="0" * 64,
            size_bytes=1,
            added_at=datetime.now(UTC),
        )
        await store.put_document(document, some)


async def fill(application: Application, index: PassageIndex, count: int) -> None:
    """Fill a layer, and print what that costs beside the embedding of it."""
    passages = drawn(count)
    sample = [content(passage) for passage in passages[:SAMPLE]]
    dimensions = (await embed(application, sample[:16])).shape[1]
    before = time.process_time()
    await embed(application, sample)
    embedded_ms = 1e3 * (time.process_time() - before) / len(sample)
    rows = clustered(count, dimensions)
    names = [*embedders(application)]
    before = time.process_time()
    await put(application, passages)
    digests = [digest(content(passage)) for passage in passages]
    for at in range(0, count, 256):  # As the job does.
        index.vault.save(GLOBAL, names[0], digests[at : at + 256], rows[at : at + 256])
    await index.follow(names)
    index.vault.tidy(GLOBAL, names[0], set(digests))
    added_ms = 1e3 * (time.process_time() - before) / count
    print(
        f"  to store, index and keep a passage {added_ms:.2f} ms CPU; to embed it "
        f"{embedded_ms:.1f} ms: {added_ms / embedded_ms:.0%} more",
        flush=True,
    )


async def ask(application: Application, index: PassageIndex, questions: Sequence[str]) -> None:
    """Ask questions from text to passages, one behind the other."""
    took, cpu, size_mb = [], [], []
    async with working(application, "bench", "default") as work:
        for text in questions:
            query = SearchQuery(text=text, layers=(GLOBAL,), global_topk=TOP)
            wall_s, cpu_s = time.perf_counter(), time.process_time()
            await index.search(query, parent=work)
            took.append(1e3 * (time.perf_counter() - wall_s))
            cpu.append(1e3 * (time.process_time() - cpu_s))
            size_mb.append(resident_mb())
    (p50, p99), (cpu50, cpu99) = (np.percentile(each, [50, 99]) for each in (took, cpu))
    print(
        f"  {len(questions)} questions: p50 {p50:.1f} ms, "
        f"p99 {p99:.1f} ms; CPU p50 {cpu50:.1f} ms, p99 {cpu99:.1f} ms; "
        f"{size_mb[0]:.0f} MB at the first, {size_mb[-1]:.0f} MB at the last",
        flush=True,
    )


def resident_mb() -> float:
    """Return what the process holds in memory."""
    pages = Path("/proc/self/statm").read_text().split()[1]
    return int(pages) * 4096 / 2**20


@asynccontextmanager
async def deployed(folder: Path, embedder: str) -> AsyncIterator[tuple[Application, PassageIndex]]:
    """Open a deployment of its own."""
    (folder / "coe.toml").write_text(SETTINGS.format(embedder=embedder))
    host = await Host.start(folder / "coe.toml", data_dir=folder / "data")
    try:
        index = host.application.need(KnowledgeIndex)
        if not isinstance(index, PassageIndex):
            sys.exit("another index is installed")
        yield host.application, index
    finally:
        await host.close()


async def measure(folder: Path, count: int, embedder: str) -> None:
    """Fill a deployment and ask it."""
    questions = [json.loads(line)["question"] for line in QUESTIONS.splitlines()][:ASKED]
    async with deployed(folder, embedder) as (application, index):
        print(f"{embedder}, {count} passages, {resident_mb():.0f} MB before")
        await fill(application, index, count)
        await ask(application, index, questions[:20])  # Until it is warm, and in cells.
        while any(shelf.stale for shelf in index.shelves.by_name.values()):
            await ask(application, index, questions[:20])
        await ask(application, index, questions)


async def recall(folder: Path, texts: Sequence[str], embedder: str) -> None:
    """Compare cells with exact search, on the vectors of real texts."""
    async with deployed(folder, embedder) as (application, _):
        rows = await embed(application, texts)
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    asked, kept = rows[:100], rows[100:]
    stale = Matrix(rows.shape[1])
    for number, row in enumerate(kept):
        stale.put(number, row)
    made, found = stale.rest(stale.arranged()) if stale.is_stale else stale, []
    for vector in asked:
        exact = set(np.argsort(-(kept @ vector))[:TOP].tolist())
        near = np.nan_to_num(made.similarity(vector, len(kept)), nan=-1.0)
        found.append(len(exact & set(np.argsort(-near)[:TOP].tolist())) / TOP)
    print(f"{embedder}, {len(kept)} texts: recall@{TOP} of the index {np.mean(found):.3f}")


def main(what: str = "100000", *arguments: str) -> None:
    """Measure what is named."""
    with tempfile.TemporaryDirectory() as folder:
        if what == "recall":
            file, embedder = Path(arguments[0]), (*arguments[1:], "embed-fast")[0]
            texts = list(dict.fromkeys(file.read_text("utf-8").splitlines()))
            asyncio.run(recall(Path(folder), texts, embedder))
            return
        for embedder in arguments or ("embed-fast", "embed-quality"):
            own = Path(folder, embedder)
            own.mkdir()
            asyncio.run(measure(own, int(what), embedder))


if __name__ == "__main__":
    main(*sys.argv[1:])
