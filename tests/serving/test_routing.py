"""A request to `auto` is understood by the bundled embedder, and answered by its route's model."""

from collections.abc import AsyncIterator

import httpx
import pytest
from coe_knowledge.plugin import KnowledgePlugin
from coe_models_local.plugin import LocalPlugin
from coe_models_openai.plugin import OpenAIPlugin
from coe_records.plugin import RecordsPlugin
from coe_retrieval.plugin import RetrievalPlugin
from coe_routing.plugin import RoutingPlugin
from coe_server.plugin import ServerPlugin

from coe_core.host import Host
from coe_core.service import KnowledgeIndex, RecordReader
from coe_core.testing import deployment
from coe_core.testing.upstream import Upstream

from .test_turns import serving

ROUTES = """
[routing]
default = "plain"

[plugins.routing.routes.refunds]
description = "Customers who want their money back"
examples = ["I want a refund for my order", "how long does a refund take", "refund to my card",
    "주문 환불해 주세요", "환불은 얼마나 걸리나요", "카드로 환불해 주세요"]
model = "careful"
tools = []

[plugins.routing.routes.code]
description = "Writing and fixing program code"
examples = ["write a python function", "why does this code crash", "fix the bug in my script",
    "파이썬 함수 짜 줘", "이 코드 왜 에러 나요", "스크립트 버그 고쳐 줘"]
model = "clever"

[[plugins.routing.rules]]
name = "pictures"
modalities = ["image"]
model = "seeing"
"""


@pytest.fixture
async def host() -> AsyncIterator[Host]:
    async with Upstream() as upstream:
        aliases = ("plain", "careful", "clever", "seeing")
        models = "".join(
            f'[models.{alias}]\nprovider = "openai"\nmodel = "{alias}"\n'
            f'base_url = "{upstream.url}"\n'
            for alias in aliases
        )
        plugins = {
            "server": ServerPlugin,
            "openai": OpenAIPlugin,
            "local": LocalPlugin,
            "records": RecordsPlugin,
            "routing": RoutingPlugin,
            "knowledge": KnowledgePlugin,
            "retrieval": RetrievalPlugin,
        }
        async with deployment(models + ROUTES, plugins=plugins) as host:
            assert host.application.problems == ()
            yield host


@pytest.fixture
async def client(host: Host) -> AsyncIterator[httpx.AsyncClient]:
    async with serving(host) as url, httpx.AsyncClient(base_url=url, timeout=60) as http:
        yield http
    reader = host.application.need(RecordReader)
    routes = [turn.route async for turn in reader.interactions("default")]
    assert all(route is not None and route.reason for route in routes)


async def answered_by(client: httpx.AsyncClient, content: object, **headers: str) -> str:
    body = {"model": "auto", "messages": [{"role": "user", "content": content}]}
    response = await client.post("chat/completions", json=body, headers=headers)
    assert response.status_code == 200, response.text
    return str(response.json()["model"])


async def test_the_meaning_of_a_request_decides(client: httpx.AsyncClient) -> None:
    assert await answered_by(client, "can I get a refund for order 1182?") == "careful"
    assert await answered_by(client, "지난주 주문 환불받고 싶은데요") == "careful"
    assert await answered_by(client, "파이썬 코드에서 에러가 나는데 고쳐 줘") == "clever"
    assert await answered_by(client, "fix this python bug please") == "clever"
    assert await answered_by(client, "오늘 부산 날씨 어때?") == "plain"
    assert await answered_by(client, "who painted the Night Watch") == "plain"


async def test_the_client_s_word_and_the_rules_go_before_the_meaning(
    client: httpx.AsyncClient,
) -> None:
    text = "can I get a refund?"
    image = [{"type": "text", "text": text}, {"type": "image_url", "image_url": {"url": "data:,x"}}]
    assert await answered_by(client, image) == "seeing"
    assert await answered_by(client, image, **{"x-coe-route": "code"}) == "clever"


async def test_it_is_explained_and_learnt_from(client: httpx.AsyncClient) -> None:
    odd = "quokka marmalade zanzibar"
    root = str(client.base_url).removesuffix("/v1/")

    async def explained() -> dict[str, object]:
        response = await client.post(f"{root}/coe/v1/routes/explain", json={"text": odd})
        assert response.status_code == 200, response.text
        return dict(response.json())

    before = await explained()
    assert (before["target"], before["router"]) == ("plain", "default")
    body = {"model": "auto", "messages": [{"role": "user", "content": odd}]}
    turn = (await client.post("chat/completions", json=body)).json()["id"]
    feedback = {"turn_id": turn, "route": "refunds"}
    assert (await client.post(f"{root}/coe/v1/feedback", json=feedback)).status_code == 201
    after = await explained()
    assert (after["target"], after["route"], after["router"]) == ("careful", "refunds", "semantic")
    assert after["tools"] == []


async def test_what_it_means_and_what_is_known_of_it_take_one_embedding(
    client: httpx.AsyncClient, host: Host
) -> None:
    root = str(client.base_url).removesuffix("/v1/")
    note = {"source": "refunds.md", "text": "# Refunds\n\nA refund takes three days.\n"}
    added = await client.post(f"{root}/coe/v1/knowledge/documents", json=note)
    assert added.status_code == 201, added.text
    async for _ in host.application.need(KnowledgeIndex).rebuild():
        pass  # What is known is embedded, and by the first question the routes' examples.
    assert await answered_by(client, "I want a refund") == "careful"
    assert await answered_by(client, "how long does a refund take for order 1182? ") == "careful"
    reader = host.application.need(RecordReader)
    *_, turn = [turn async for turn in reader.interactions("default")]
    assert turn.passages
    assert [attempt.purpose for attempt in turn.attempts] == ["embedding", "chat"]
