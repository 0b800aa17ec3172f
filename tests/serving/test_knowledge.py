"""Documents in an answer: added, found, cited, opened over HTTP; and nothing of it elsewhere."""

import asyncio
import random
from base64 import b64encode
from collections.abc import AsyncIterator, Sequence
from typing import Any

import httpx
import openai
import pytest
from attrs import define, field, frozen
from coe_knowledge.plugin import KnowledgePlugin
from coe_records.plugin import RecordsPlugin
from coe_server.gateway import Gateway
from coe_server.plugin import ServerPlugin
from coe_server.server import Server, listen
from coe_server.settings import Settings

from coe_core import (
    Credentials,
    KnowledgeIndex,
    Passage,
    Principal,
    RecordReader,
    SearchQuery,
    Turn,
    hookimpl,
)
from coe_core.access import GroupName
from coe_core.compose import Context
from coe_core.error import Unauthenticated
from coe_core.scaffold.kinds.knowledge_index import ExamplePlugin
from coe_core.testing import ScriptedProvider, deployment

LEAVE = "# 휴가 안내\n\n## 연차\n\n연차는 1년에 15일입니다.\n"
SICK = "# Sick leave\n\nA note is needed from the third day on.\n"
ANSWER = "연차는 15일입니다 [1]. Not from [9]."


@frozen
class Named:
    """Takes `GROUP:ROLE` for a key."""

    name: str = "named"

    async def authenticate(self, credentials: Credentials) -> Principal | None:
        group, _, role = (credentials.token or "").partition(":")
        if not role:
            raise Unauthenticated("no key")
        named: Any = role
        return Principal(group=GroupName(group), role=named, key_id=f"key-{group}")


@frozen
class Finder:
    """A retriever that asks the index."""

    index: KnowledgeIndex
    name: str = "finder"

    async def retrieve(self, turn: Turn, layers: tuple[str, ...]) -> Sequence[Passage]:
        query = SearchQuery(text=turn.request.text, layers=layers)
        return await self.index.search(query, parent=turn)


@define
class World:
    url: str
    provider: ScriptedProvider
    reader: RecordReader
    clients: dict[str, httpx.AsyncClient] = field(factory=dict)

    def __call__(self, key: str) -> httpx.AsyncClient:
        if key not in self.clients:
            bearer = {"authorization": f"Bearer {key}"}
            self.clients[key] = httpx.AsyncClient(base_url=self.url, headers=bearer, timeout=30)
        return self.clients[key]

    def openai(self, key: str) -> openai.AsyncOpenAI:
        return openai.AsyncOpenAI(base_url=f"{self.url}/v1", api_key=key, max_retries=0)

    async def add(self, key: str, source: str, text: str, **more: Any) -> httpx.Response:
        body = {"source": source, "text": text, **more}
        return await self(key).post("/coe/v1/knowledge/documents", json=body)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    provider = ScriptedProvider(answers=[ANSWER])

    class Parts:
        @hookimpl
        def coe_model_providers(self, ctx: Context) -> list[Any]:
            return [provider]

        @hookimpl
        def coe_authenticators(self, ctx: Context) -> list[Any]:
            return [Named()]

        @hookimpl
        def coe_retrievers(self, ctx: Context) -> list[Any]:
            return [Finder(ctx.need(KnowledgeIndex))]

    plugins = {
        "index": ExamplePlugin,
        "knowledge": KnowledgePlugin,
        "parts": Parts,
        "records": RecordsPlugin,
        "server": ServerPlugin,
    }
    settings = '[routing]\ndefault = "scripted"\n'
    async with deployment(settings, plugins=plugins) as host:
        assert host.application.problems == ()
        listener = listen("127.0.0.1", 0)
        accepting = asyncio.Event()
        server = Server(Gateway(host.lease, Settings()), accepting.set)
        task = asyncio.create_task(server.serve(sockets=[listener]))
        await accepting.wait()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        world = World(url, provider, host.application.need(RecordReader))
        try:
            yield world
        finally:
            for client in world.clients.values():
                await client.aclose()
            server.should_exit = server.force_exit = True
            await task


QUESTION: Any = [{"role": "user", "content": "연차는 1년에 며칠?"}]


async def test_answer_cites_passages_that_can_be_opened(world: World) -> None:
    added = (await world.add("law:member", "leave.md", LEAVE)).json()
    assert (added["outcome"], added["passages"]) == ("added", 1)
    async with world.openai("law:member") as client:
        answer = await client.chat.completions.create(model="auto", messages=QUESTION)
    message = answer.choices[0].message
    assert message.annotations is not None
    (annotation,) = message.annotations
    cited = annotation.url_citation
    assert ANSWER[cited.start_index : cited.end_index] == "[1]"
    assert cited.title == "휴가 안내"
    opened = (await world("law:viewer").get(cited.url)).json()
    assert opened["text"] == "## 연차\n연차는 1년에 15일입니다."
    (shown,) = answer.model_extra["coe"]["citations"]  # type: ignore[index]
    assert shown["used"] is True
    assert shown["passage"] == opened["id"]
    assert (shown["headings"], shown["first_line"]) == (["휴가 안내", "연차"], 3)
    (record,) = [r async for r in world.reader.interactions("law")]
    assert record.passages_used == (opened["id"],)
    prompt = "\n".join(m.text for m in world.provider.requests[0].messages)
    assert '<passage number="1" source="leave.md &gt; 휴가 안내 &gt; 연차">' in prompt


async def test_stream_ends_with_the_citations(world: World) -> None:
    await world.add("law:member", "leave.md", LEAVE)
    async with world.openai("law:member") as client:
        frames = [
            frame
            async for frame in await client.chat.completions.create(
                model="auto", messages=QUESTION, stream=True
            )
        ]
        response = await client.responses.create(model="auto", input=QUESTION[0]["content"])
        told = [
            event
            async for event in await client.responses.create(
                model="auto", input=QUESTION[0]["content"], stream=True
            )
        ]
    delta = frames[-1].choices[0].delta.model_extra
    assert delta is not None
    (annotation,) = delta["annotations"]
    place = annotation["url_citation"]
    assert ANSWER[place["start_index"] : place["end_index"]] == "[1]"
    assert frames[-1].model_extra["coe"]["citations"][0]["used"]  # type: ignore[index]
    (cited,) = response.output[0].content[0].annotations  # type: ignore[union-attr]
    assert cited.url == place["url"]  # type: ignore[union-attr]
    assert response.output[0].type == "message"
    (event,) = [e for e in told if e.type == "response.output_text.annotation.added"]
    assert event.annotation == cited.model_dump()
    again = (await world("law:member").get(f"/v1/responses/{response.id}")).json()
    assert again["output"][0]["content"][0]["annotations"] == [cited.model_dump()]


async def test_question_without_passages_is_answered_as_ever(world: World) -> None:
    body = {"model": "auto", "messages": QUESTION}
    answer = (await world("law:member").post("/v1/chat/completions", json=body)).json()
    assert "annotations" not in answer["choices"][0]["message"]
    assert "coe" not in answer


async def test_who_may_add_and_remove_what(world: World) -> None:
    assert (await world.add("law:viewer", "a.md", SICK)).status_code == 403
    assert (await world.add("law:member", "a.md", SICK, layer="global")).status_code == 403
    assert (await world.add("law:admin", "a.md", SICK, layer="group:other")).status_code == 403
    assert (await world.add("law:admin", "a.md", SICK, layer="elsewhere")).status_code == 403
    everybody_s = (await world.add("law:admin", "all.md", SICK, layer="global")).json()["id"]
    path = f"/coe/v1/knowledge/items/{everybody_s}"
    assert (await world("other:viewer").get(path)).json()["item"]["source"] == "all.md"
    assert (await world("other:member").delete(path)).status_code == 403
    assert (await world("other:admin").delete(path)).status_code == 200
    assert (await world("other:admin").get(path)).status_code == 404


async def test_document_is_changed_listed_searched_and_removed(world: World) -> None:
    law = world("law:member")
    first = await world.add("law:member", "leave.md", LEAVE)
    assert first.status_code == 201
    again = await world.add("law:member", "leave.md", LEAVE)
    assert (again.status_code, again.json()["outcome"]) == (200, "unchanged")
    content = b64encode(SICK.encode("utf-16")).decode()
    body = {"source": "leave.md", "content_base64": content, "title": "Sick"}
    changed = await law.post("/coe/v1/knowledge/documents", json=body)
    assert (changed.status_code, changed.json()["id"]) == (200, first.json()["id"])
    card = {"kind": "fact", "text": "The desk answers from 8 to 18.", "title": "Desk"}
    made, known = [await law.post("/coe/v1/knowledge/cards", json=card) for _ in range(2)]
    assert (made.status_code, known.status_code) == (201, 200)
    assert made.json() == known.json()
    page = (await law.get("/coe/v1/knowledge/items?limit=1")).json()
    rest = (await law.get("/coe/v1/knowledge/items", params={"after": page["next"]})).json()
    assert [item["title"] for item in page["items"] + rest["items"]] == ["Desk", "Sick"]
    sought = {"text": "third day", "group_topk": 1}
    (found,) = (await law.post("/coe/v1/knowledge/search", json=sought)).json()["passages"]
    assert found["source"] == "leave.md"
    told = (await law.post("/coe/v1/knowledge/search", json={"text": "The desk"})).json()
    assert [card["text"] for card in told["cards"]] == [card["text"]]
    for item in page["items"] + rest["items"]:
        await law.delete(f"/coe/v1/knowledge/items/{item['id']}")
    assert (await law.post("/coe/v1/knowledge/search", json=sought)).json() == {"passages": []}
    assert (await law.get(f"/coe/v1/knowledge/passages/{found['id']}")).status_code == 404


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({"source": "a.md"}, 400, "text"),
        ({"source": "a.md", "text": "x", "content_base64": "eA=="}, 400, "text"),
        ({"source": "a.md", "content_base64": "no base64!"}, 400, "content_base64"),
        ({"source": "", "text": "x"}, 400, "source"),
        ({"source": "a\nb.md", "text": "x"}, 400, "source"),
        ({"source": "a.exe", "text": "x"}, 422, None),
        ({"source": "a.md", "text": "  "}, 422, None),
        ({"source": "a", "text": "x", "media_type": "image/png"}, 422, None),
    ],
)
async def test_bad_document_is_refused(
    world: World, body: dict[str, Any], status: int, param: str | None
) -> None:
    refused = await world("law:member").post("/coe/v1/knowledge/documents", json=body)
    assert refused.status_code == status, refused.text
    assert refused.json()["error"]["param"] == param


@pytest.mark.parametrize("text", ["", " \n"])
async def test_nothing_is_not_sought(world: World, text: str) -> None:
    refused = await world("law:viewer").post("/coe/v1/knowledge/search", json={"text": text})
    assert refused.status_code == 400
    assert refused.json()["error"]["param"] == "text"


KEYS = ("law:admin", "sales:admin")
SECRETS = {key: f"{key[0].upper()}SECRET word {number}" for number, key in enumerate(KEYS)}


async def _probe(world: World, choose: random.Random, ids: dict[str, list[str]]) -> None:
    """Ask as one group for something of the other, in any way there is."""
    asking, other = choose.sample(KEYS, 2)
    known = choose.choice(ids[other])
    guess = choose.choice([known, known[:-1], known.upper(), f"{known}%", f"' OR id='{known}"])
    path = choose.choice(["items", "passages"])
    client = world(asking)
    match choose.randrange(5):
        case 0:
            seen = await client.get(f"/coe/v1/knowledge/{path}/{guess}")
            never = await client.get(f"/coe/v1/knowledge/{path}/nothing-{choose.random()}")
            assert seen.status_code == never.status_code == 404
            assert seen.json()["error"]["code"] == never.json()["error"]["code"]
        case 1:
            seen = await client.delete(f"/coe/v1/knowledge/items/{guess}")
            assert seen.status_code == 404
        case 2:
            layer = choose.choice(["group:" + other.partition(":")[0], "group:", "%", "global"])
            seen = await client.get("/coe/v1/knowledge/items", params={"layer": layer})
            assert seen.json() == {"items": []}
        case 3:
            seen = await client.get("/coe/v1/knowledge/items", params={"after": guess[:4]})
        case _:
            body = {"text": SECRETS[other], "items": choose.choice([[], [known]])}
            seen = await client.post("/coe/v1/knowledge/search", json=body)
    assert SECRETS[other].split()[0] not in seen.text


async def _probed(world: World, probes: int) -> None:
    ids: dict[str, list[str]] = {}
    for key in KEYS:
        added = (await world.add(key, f"{SECRETS[key]}.md", SECRETS[key])).json()
        whole = await world(key).get(f"/coe/v1/knowledge/items/{added['id']}")
        ids[key] = [added["id"], whole.json()["passages"][0]["id"]]
    choose = random.Random(20261127)
    for _ in range(probes):
        await _probe(world, choose, ids)
    for key in KEYS:
        assert (await world(key).get(f"/coe/v1/knowledge/items/{ids[key][0]}")).status_code == 200


async def test_no_probe_finds_anything_of_another_group(world: World) -> None:
    await _probed(world, 300)
