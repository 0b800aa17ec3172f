"""The index finds by words at once and by meaning later, and bears what may befall it."""

import asyncio
import shutil
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from attrs import evolve
from coe_retrieval.index import PassageIndex, layer_key
from coe_retrieval.retriever import IndexRetriever
from coe_retrieval.term import terms
from coe_retrieval.vault import table_name

from coe_core.application import Application
from coe_core.identity import SessionId
from coe_core.knowledge import PassageChanges, SearchQuery
from coe_core.message import assistant, user
from coe_core.parameter import Parameters
from coe_core.service import Journal
from coe_core.testing import ScriptedProvider, make_turn
from coe_core.testing.knowledge import MemoryKnowledgeStore
from coe_core.turn import GLOBAL, Passage

from .conftest import HANDBOOK, MakeIndex, TopicProvider, add, index_of, job_of

MINE = "group:default"


async def texts(
    index: PassageIndex, application: Application, text: str, **fields: object
) -> list[str]:
    query = SearchQuery(**({"text": text, "layers": (MINE, GLOBAL)} | fields))  # type: ignore[arg-type]
    found = await index.search(query, parent=make_turn(application=application))
    return [passage.text for passage in found]


@pytest.fixture
async def index(make_index: MakeIndex, store: MemoryKnowledgeStore) -> PassageIndex:
    await add(store, MINE, HANDBOOK)
    return make_index()


async def test_meaning_finds_what_words_do_not(
    index: PassageIndex, scripted: Application, provider: TopicProvider
) -> None:
    asked = "며칠이나 쉬는 게 되나"
    assert HANDBOOK[0] not in await texts(index, scripted, asked)
    report = await job_of(index, scripted).run()
    assert report == {"embedded": len(HANDBOOK), "failed": {}}
    assert (await texts(index, scripted, asked))[0] == HANDBOOK[0]
    assert index.lag_s == 0


async def test_a_content_is_embedded_once(
    index: PassageIndex,
    make_index: MakeIndex,
    store: MemoryKnowledgeStore,
    scripted: Application,
    provider: TopicProvider,
) -> None:
    await job_of(index, scripted).run()
    await add(store, MINE, HANDBOOK, source="copy.md")
    await job_of(index, scripted).run()
    again = make_index()
    await job_of(again, scripted).run()
    assert [t for t in provider.embedded if t in HANDBOOK] == list(HANDBOOK)
    assert (await texts(again, scripted, "며칠이나 쉬는 게 되나"))[0] == HANDBOOK[0]


class HeldStore(MemoryKnowledgeStore):
    """A store that, asked what has changed, keeps its first answer to itself for a while."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0
        self.began, self.go_on = asyncio.Event(), asyncio.Event()

    async def follow(self, cursor: str = "") -> AsyncIterator[PassageChanges]:
        self.asked += 1
        changes = [each async for each in super().follow(cursor)]
        if self.asked == 1:
            self.began.set()
            await self.go_on.wait()
        for each in changes:
            yield each


async def test_searches_at_once_share_a_look_that_began_after_they_did(
    scripted: Application, tmp_path: Path
) -> None:
    store = HeldStore()
    await add(store, MINE, HANDBOOK[:1])
    index = index_of(store, scripted, tmp_path)
    first = asyncio.create_task(texts(index, scripted, HANDBOOK[0]))
    await store.began.wait()
    await add(store, MINE, HANDBOOK[1:], source="more.md")
    others = [asyncio.create_task(texts(index, scripted, HANDBOOK[1])) for _ in range(5)]
    await asyncio.sleep(0)
    store.go_on.set()
    assert await first == [HANDBOOK[0]]
    assert all(found[0] == HANDBOOK[1] for found in await asyncio.gather(*others))
    assert store.asked == 2


async def test_neither_passages_nor_questions_are_taken_apart_on_the_event_loop(
    index: PassageIndex, scripted: Application
) -> None:
    seen: list[tuple[str, bool]] = []

    def reading(text: str) -> list[str]:
        seen.append((text, threading.current_thread() is threading.main_thread()))
        return terms(text)

    assert await texts(evolve(index, reading=reading), scripted, "연차")
    assert sorted(seen) == sorted((text, False) for text in (*HANDBOOK, "연차"))


async def test_near_duplicates_are_shown_once(
    index: PassageIndex, store: MemoryKnowledgeStore, scripted: Application
) -> None:
    await add(store, MINE, HANDBOOK, source="copy.md")
    await add(store, GLOBAL, HANDBOOK)
    found = await texts(index, scripted, HANDBOOK[0])
    assert found.count(HANDBOOK[0]) == 1


async def test_vectors_of_another_length_are_not_compared(
    index: PassageIndex, make_index: MakeIndex, scripted: Application, provider: TopicProvider
) -> None:
    await job_of(index, scripted).run()
    provider.dimensions = 48
    assert (await texts(index, scripted, HANDBOOK[1]))[0] == HANDBOOK[1]
    again = make_index()
    assert (await texts(again, scripted, HANDBOOK[1]))[0] == HANDBOOK[1]


async def test_a_question_too_long_for_the_embedder_is_cut(
    index: PassageIndex, scripted: Application, provider: TopicProvider
) -> None:
    await job_of(index, scripted).run()
    provider.longest = 100
    assert await texts(index, scripted, "환불 " * 3000)


async def test_an_embedder_that_fails_leaves_the_words(
    index: PassageIndex, scripted: Application
) -> None:
    class Broken(ScriptedProvider):
        async def embed(self, *_: object, **__: object) -> object:  # type: ignore[override]
            raise RuntimeError("no")

    broken = evolve(scripted, model_providers={"scripted": Broken()})
    report = await job_of(index, broken).run()
    assert report == {"embedded": 0, "failed": {MINE: "upstream_error"}}
    assert (await texts(index, broken, HANDBOOK[1]))[0] == HANDBOOK[1]


@pytest.mark.parametrize("damage", ["truncate", "garbage", "half"])
async def test_a_table_that_cannot_be_read_is_embedded_anew(
    index: PassageIndex,
    make_index: MakeIndex,
    scripted: Application,
    provider: TopicProvider,
    damage: str,
) -> None:
    await job_of(index, scripted).run()
    table = Path(index.vault.uri) / f"{table_name(layer_key((MINE, False)), index.embedder)}.lance"
    for file in [path for path in table.rglob("*") if path.is_file()]:
        match damage:
            case "truncate":
                file.write_bytes(b"")
            case "garbage":
                file.write_bytes(b"\xff" * len(file.read_bytes()))
            case _:
                file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    provider.embedded.clear()
    again = make_index()
    assert (await texts(again, scripted, HANDBOOK[1]))[0] == HANDBOOK[1]
    await job_of(again, scripted).run()
    assert set(HANDBOOK) <= set(provider.embedded)
    assert (await texts(make_index(), scripted, "며칠이나 쉬는 게 되나"))[0] == HANDBOOK[0]


async def test_a_vault_that_vanishes_is_made_anew(
    index: PassageIndex, make_index: MakeIndex, scripted: Application
) -> None:
    await job_of(index, scripted).run()
    shutil.rmtree(index.vault.uri)
    again = make_index()
    await job_of(again, scripted).run()
    assert (await texts(again, scripted, "며칠이나 쉬는 게 되나"))[0] == HANDBOOK[0]


async def say(application: Application, asked: str, answered: str, **fields: object) -> None:
    from coe_core.record import Interaction
    from coe_core.turn import Outcome

    turn = make_turn(asked, application=application)
    said = {
        "id": turn.id,
        "group": "default",
        "session": SessionId("s-1"),
        "started_at": turn.started_at,
        "ended_at": turn.started_at,
        "requested_model": "auto",
        "request_sha256": "0" * 64,
        "root_id": turn.id,
        "new_messages": (user(asked),),
        "answer": (assistant(answered),),
        "outcome": Outcome(status="success"),
        "passages": (Passage(id="p", text="a secret passage", layer=MINE, source="x"),),
    }
    await application.need(Journal).append(Interaction(**(said | fields)))  # type: ignore[arg-type]


async def test_earlier_turns_are_found_in_their_group_alone(
    index: PassageIndex, scripted: Application
) -> None:
    await say(scripted, "커피 머신은 어디 있지", "3층 탕비실에 있습니다")
    await say(scripted, "커피 머신이 고장났어", "다른 팀의 답", group="other")
    found = await texts(index, scripted, "커피 머신", session_topk=5)
    assert "커피 머신은 어디 있지" in found
    assert "3층 탕비실에 있습니다" in found  # Nothing but its neighbour speaks of coffee.
    assert "커피 머신이 고장났어" not in found
    assert not await texts(index, scripted, "a secret passage", session_topk=5, layers=(MINE,))
    own = await texts(index, scripted, "커피 머신", session_topk=5, session=SessionId("s-1"))
    assert "커피 머신은 어디 있지" not in own
    assert "커피 머신은 어디 있지" not in await texts(index, scripted, "커피 머신")


async def test_the_retriever_brings_neighbours_behind_the_hits(
    index: PassageIndex, store: MemoryKnowledgeStore, scripted: Application
) -> None:
    params = {"global_topk": 5, "group_topk": 1, "session_topk": 0, "min_score": 0.0}
    turn = make_turn(
        HANDBOOK[1], application=scripted, params=Parameters({**params, "neighbours": 1})
    )
    turn = evolve(turn, session=evolve(turn.session, new_messages=turn.request.messages))
    found = await IndexRetriever(index, store).retrieve(turn, (MINE,))
    assert [p.text for p in found] == [HANDBOOK[1], HANDBOOK[0], HANDBOOK[2]]
    assert found[0].score > found[1].score == found[2].score
