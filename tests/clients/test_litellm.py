"""litellm as a client."""

import json

import litellm
import pytest
from scene import QUESTION, WEATHER


@pytest.fixture
def options(base_url, model):
    return {"model": f"openai/{model}", "api_base": base_url, "api_key": "none", "max_tokens": 64}


def test_chat(options):
    answer = litellm.completion(messages=QUESTION, **options)
    assert answer.choices[0].message.content


def test_stream(options):
    chunks = litellm.completion(messages=QUESTION, stream=True, **options)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks)


def test_tool(options):
    # Without `mcp` installed, litellm 1.106 fails while it looks for MCP servers among the tools.
    answer = litellm.completion(
        messages=QUESTION,
        tools=[WEATHER],
        tool_choice="required",
        _skip_mcp_handler=True,
        **options,
    )
    [call] = answer.choices[0].message.tool_calls
    assert "city" in json.loads(call.function.arguments)
