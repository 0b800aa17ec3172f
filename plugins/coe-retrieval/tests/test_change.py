"""Another embedder: what the old one has made answers until all is there of the new one."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Collection
from pathlib import Path

import pytest
from attrs import define, evolve, field
from coe_retrieval.array import Vector
from coe_retrieval.backlog import BATCH, CHUNK
from coe_retrieval.index import PassageIndex
from coe_retrieval.vault import Vault

from coe_core.application import Application
from coe_core.caller import ModelEmbedder
from coe_core.error import MissingModel
from coe_core.knowledge import SearchQuery
from coe_core.model import Model, Vectors
from coe_core.request import EmbeddingRequest
from coe_core.service import Caller, Embedder
from coe_core.settings import CoeTable, Settings
from coe_core.testing import make_turn, scripted_application
from coe_core.testing.knowledge import MemoryKnowledgeStore

from .conftest import HANDBOOK, MakeIndex, TopicProvider, add, index_of, job_of

MINE = "group:default"
ASKED = "며칠이나 쉬는 게 되나"
"""Has no word of what it asks for."""
NOTES = [*HANDBOOK, *(f"Note {number} of the canteen's menu." for number in range(600))]


@define
class TwoModels(TopicProvider):
    """Embeds by two models; the vectors of the other one are longer."""

    by: dict[str, list[str]] = field(factory=dict)
    """By model, what was embedded."""

    async def embed(self, model: Model, request: EmbeddingRequest, *, group: str) -> Vectors:
        self.by.setdefault(model.alias, []).extend(request.input)
        self.dimensions = 48 if model.alias == "other" else 32
        return await TopicProvider.embed(self, model, request, group=group)


@define
class Meanwhile(TwoModels):
    """Lets something happen while it embeds."""

    happens: Callable[[], None] = field(kw_only=True)

    async def embed(self, model: Model, request: EmbeddingRequest, *, group: str) -> Vectors:
        self.happens()
        return await TwoModels.embed(self, model, request, group=group)


@define(eq=False)
class Watched(Vault):
    """Tells of which embedders vectors were read."""

    read: list[str] = field(factory=list, init=False)

    def load(self, layer: str, embedder: str, wanted: Collection[str]) -> dict[str, Vector]:
        self.read.append(embedder)
        return Vault.load(self, layer, embedder, wanted)


def choosing(application: Application, alias: str) -> Application:
    """Return the application with one of two embedders in force."""
    embed = application.models["scripted-embed"]
    other = evolve(embed, alias="other", name="other")
    caller = application.need(Caller)
    return evolve(
        application,
        settings=Settings(coe=CoeTable(embedder=alias)),
        models={**application.models, "other": other},
        services={**application.services, Embedder: ModelEmbedder(alias, caller)},  # type: ignore[arg-type]
    )


@pytest.fixture
def provider() -> TwoModels:
    return TwoModels()


@pytest.fixture
def old(scripted: Application) -> Application:
    return choosing(scripted, "scripted-embed")


@pytest.fixture
def new(scripted: Application) -> Application:
    return choosing(scripted, "other")


async def found(index: PassageIndex, application: Application) -> list[str]:
    """Return what is found for the question."""
    query = SearchQuery(text=ASKED, layers=(MINE,))
    passages = await index.search(query, parent=make_turn(application=application))
    return [passage.text for passage in passages]


async def best(index: PassageIndex, application: Application) -> str:
    """Return what is found first."""
    return (await found(index, application))[0]


async def test_the_old_vectors_answer_until_the_new_are_whole(
    make_index: MakeIndex,
    store: MemoryKnowledgeStore,
    provider: TwoModels,
    old: Application,
    new: Application,
) -> None:
    await add(store, MINE, NOTES)
    before = make_index(old)
    await job_of(before, old).run()
    index = make_index(new)  # As after a restart.
    working = asyncio.create_task(job_of(index, new).run())
    answered = 0
    while not working.done():
        assert await best(index, new) == HANDBOOK[0]
        answered += 1
    assert answered > 5
    assert working.result() == {"embedded": len(NOTES), "failed": {}}
    assert sorted(text for text in provider.by["other"] if text in NOTES) == sorted(NOTES)
    (shelf,) = index.shelves.by_name.values()
    assert shelf.embedder == "scripted:other"
    assert await best(index, new) == HANDBOOK[0]
    assert ASKED in provider.by["other"]


async def test_what_was_added_meanwhile_is_found_by_its_words(
    make_index: MakeIndex, store: MemoryKnowledgeStore, old: Application, new: Application
) -> None:
    await add(store, MINE, HANDBOOK)
    await job_of(make_index(old), old).run()
    index = make_index(new)
    await add(store, MINE, ["잠은 며칠이나 자나"], source="late.md")
    assert {HANDBOOK[0], "잠은 며칠이나 자나"} <= set(await found(index, new))
    await job_of(index, new).run()
    assert await best(index, new) == HANDBOOK[0]
    await job_of(index, old).run()  # And back, in the same process.
    assert await best(index, old) == HANDBOOK[0]
    (shelf,) = index.shelves.by_name.values()
    assert (shelf.embedder, len(shelf.pending)) == ("scripted:embed", 0)


async def test_without_the_old_embedder_words_are_found(
    make_index: MakeIndex, store: MemoryKnowledgeStore, old: Application, new: Application
) -> None:
    await add(store, MINE, HANDBOOK)
    await job_of(make_index(old), old).run()
    models = {alias: m for alias, m in new.models.items() if alias != "scripted-embed"}
    alone = evolve(new, models=models)
    index = make_index(alone)
    assert not await found(index, alone)
    await job_of(index, alone).run()
    assert await best(index, alone) == HANDBOOK[0]


async def test_an_embedder_that_an_application_lacks_is_missing_and_words_are_left(
    make_index: MakeIndex, old: Application, scripted: Application
) -> None:
    embedding, turn = make_index(old).embedding, make_turn(application=scripted)
    assert await embedding.question(HANDBOOK[1], "scripted:other", turn) is None
    with pytest.raises(MissingModel, match="'scripted:other' is no model"):
        await embedding.passages(HANDBOOK, "scripted:other", turn)


async def test_no_vectors_are_read_of_an_embedder_that_cannot_finish(
    make_index: MakeIndex, store: MemoryKnowledgeStore, old: Application, new: Application
) -> None:
    await add(store, MINE, HANDBOOK, source="gone.md")
    await job_of(make_index(new), new).run()
    await store.remove([MINE], f"{MINE}/gone.md")
    await add(store, MINE, ["One.", "Two."])
    await job_of(make_index(old), old).run()

    def fail() -> None:
        raise RuntimeError("no")

    broken = evolve(new, model_providers={"scripted": Meanwhile(happens=fail)})
    index = make_index(broken)
    index.vault = vault = Watched(index.vault.uri)
    for _ in range(3):
        report = await job_of(index, broken).run()
        assert report == {"embedded": 0, "failed": {MINE: "upstream_error"}}
    assert vault.read.count("scripted:other") == 1  # When the shelf was filled.


async def test_a_search_ends_though_its_shelf_is_renewed_with_other_vectors(
    make_index: MakeIndex, store: MemoryKnowledgeStore, old: Application, new: Application
) -> None:
    await add(store, MINE, HANDBOOK)
    await job_of(make_index(new), new).run()
    index = make_index(old)
    await job_of(index, old).run()

    def renew() -> None:
        ((name, shelf),) = index.shelves.by_name.items()
        if shelf.embedder == "scripted:embed":
            index.shelves.by_name[name] = renewed = shelf.renewed()
            vectors = index.vault.load(MINE, "scripted:other", renewed.contents.keys())
            renewed.exchange("scripted:other", vectors)

    slow = evolve(old, model_providers={"scripted": Meanwhile(happens=renew)})
    assert await asyncio.wait_for(best(index, slow), 10) == HANDBOOK[0]


WORKER = """
import asyncio
import sys
from pathlib import Path

sys.path.insert(0, sys.argv[1])
from tests.test_change import embed_anew

asyncio.run(embed_anew(Path(sys.argv[2])))
"""


@define
class Telling(TwoModels):
    """Tells of each batch before it is embedded."""

    async def embed(self, model: Model, request: EmbeddingRequest, *, group: str) -> Vectors:
        sys.stdout.write(f"{len(request.input)}\n")
        sys.stdout.flush()
        return await TwoModels.embed(self, model, request, group=group)


async def embed_anew(folder: Path) -> None:
    """Embed the notes with the new embedder: what is run to be killed."""
    application = choosing(scripted_application(Telling()), "other")
    store = MemoryKnowledgeStore()
    await add(store, MINE, NOTES)
    await job_of(index_of(store, application, folder), application).run()


def killed_after(folder: Path, count: int) -> None:
    """Let a process embed until it has told of so many contents, and kill it."""
    command = [sys.executable, "-c", WORKER, Path(__file__).parent.parent, folder]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdout is not None
        told = 0
        while told < count:
            told += int(next(worker.stdout))
        os.kill(worker.pid, signal.SIGKILL)


async def test_a_change_that_was_killed_goes_on(
    make_index: MakeIndex,
    store: MemoryKnowledgeStore,
    provider: TwoModels,
    old: Application,
    new: Application,
    tmp_path: Path,
) -> None:
    await add(store, MINE, NOTES)
    await job_of(make_index(old), old).run()
    saved = CHUNK
    await asyncio.to_thread(killed_after, tmp_path, saved + BATCH)
    index = make_index(new)
    assert await best(index, new) == HANDBOOK[0]
    report = await job_of(index, new).run()
    assert report == {"embedded": len(NOTES) - saved, "failed": {}}
    assert len([text for text in provider.by["other"] if text in NOTES]) == len(NOTES) - saved
    assert await best(index, new) == HANDBOOK[0]
    (shelf,) = index.shelves.by_name.values()
    assert shelf.embedder == "scripted:other"
