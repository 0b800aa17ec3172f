"""Whatever a body holds: an answer, or an error that says what is wrong with it; never a 500."""

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

PATHS = ("/v1/chat/completions", "/v1/responses", "/v1/embeddings")
VALID: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {
        "model": "actor",
        "messages": [
            {"role": "system", "content": "Be kind."},
            {"role": "user", "content": [{"type": "text", "text": "안녕 🙂"}]},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
                ],
            },
            {"role": "tool", "tool_call_id": "c", "content": "7"},
        ],
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}],
        "tool_choice": {"type": "function", "function": {"name": "f"}},
        "response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": {}}},
        "stream": True,
        "stream_options": {"include_usage": True},
        "n": 1,
        "stop": ["END"],
        "temperature": 0.5,
        "metadata": {"session_id": "s"},
        "coe": {"params": {"mood": "merry"}},
    },
    "/v1/responses": {
        "model": "actor",
        "input": [{"role": "user", "content": [{"type": "input_text", "text": "Hello"}]}],
        "instructions": "Be kind.",
        "tools": [{"type": "function", "name": "f", "parameters": {}, "strict": False}],
        "stream": True,
        "metadata": {"a": "b"},
    },
    "/v1/embeddings": {
        "model": "actor-embed",
        "input": ["a", "b"],
        "encoding_format": "base64",
        "dimensions": 3,
        "user": "u",
    },
}

# Lone surrogates included: JSON can write them, UTF-8 cannot.
texts = st.text(st.characters(exclude_categories=())) | st.sampled_from(["", "auto", "actor"])
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)


@st.composite
def broken(draw: st.DrawFn, valid: Any) -> Any:
    """A valid body with one value, somewhere in it, replaced or left out."""
    if not isinstance(valid, dict | list) or not valid or draw(st.integers(0, 5)) == 0:
        return draw(values)
    copy = valid.copy()
    keys = sorted(copy) if isinstance(copy, dict) else range(len(copy))
    key = draw(st.sampled_from(keys))
    if draw(st.integers(0, 9)) == 0:
        del copy[key]
    else:
        copy[key] = draw(broken(copy[key]))
    return copy


FUZZ = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@pytest.fixture
async def client(api: Any) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=api.server.url, timeout=30) as opened:
        yield opened


async def check(client: httpx.AsyncClient, path: str, content: bytes) -> None:
    response = await client.post(path, content=content)
    assert response.status_code < 500, response.text
    assert response.headers["x-request-id"]
    assert "internal_error" not in response.text
    if response.status_code >= 400:
        error = response.json()["error"]
        assert error.keys() >= {"message", "type", "param", "code", "request_id"}
        assert error["message"]
        assert "Traceback" not in error["message"]


@pytest.mark.parametrize("path", PATHS)
async def test_the_valid_body_is_valid(client: httpx.AsyncClient, path: str) -> None:
    response = await client.post(path, json=VALID[path])
    assert response.status_code == 200, response.text


@pytest.mark.parametrize("path", PATHS)
@FUZZ
@given(content=st.binary(max_size=200))
async def test_bytes(client: httpx.AsyncClient, path: str, content: bytes) -> None:
    await check(client, path, content)


@pytest.mark.parametrize("path", PATHS)
@FUZZ
@given(body=values)
async def test_any_json(client: httpx.AsyncClient, path: str, body: Any) -> None:
    await check(client, path, json.dumps(body).encode())


@pytest.mark.parametrize("path", PATHS)
@FUZZ
@given(data=st.data())
async def test_a_body_that_is_nearly_right(
    client: httpx.AsyncClient, path: str, data: st.DataObject
) -> None:
    body = data.draw(broken(VALID[path]))
    await check(client, path, json.dumps(body).encode())


@pytest.mark.parametrize("path", PATHS)
@FUZZ
@given(depth=st.integers(1, 3000), key=st.sampled_from(["x", "metadata", "input", "messages"]))
async def test_deep_nesting(client: httpx.AsyncClient, path: str, depth: int, key: str) -> None:
    shallow = json.dumps(VALID[path])[:-1]
    nested = "[" * depth + "]" * depth
    await check(client, path, f'{shallow}, "{key}": {nested}}}'.encode())
