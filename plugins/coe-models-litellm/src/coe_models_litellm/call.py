"""What litellm is called with."""

from __future__ import annotations

from typing import Any

from coe_core.codec import decode, encode
from coe_core.model import Model
from coe_core.request import ChatRequest, EmbeddingRequest

CHAT_FIELDS = (
    "audio",
    "frequency_penalty",
    "function_call",
    "functions",
    "logit_bias",
    "logprobs",
    "max_completion_tokens",
    "max_tokens",
    "messages",
    "modalities",
    "n",
    "parallel_tool_calls",
    "prediction",
    "presence_penalty",
    "prompt_cache_key",
    "reasoning_effort",
    "response_format",
    "safety_identifier",
    "seed",
    "service_tier",
    "stop",
    "store",
    "temperature",
    "thinking",
    "tool_choice",
    "tools",
    "top_logprobs",
    "top_p",
    "user",
    "verbosity",
    "web_search_options",
)
"""The fields of a request that are passed on.

No others are: litellm takes arguments and fields in one bag, so that a client could give it orders,
`api_base` to have our key sent elsewhere, `mock_response` to be answered for nothing.
"""


def chat_arguments(model: Model, request: ChatRequest) -> dict[str, Any]:
    """Make the arguments of `acompletion`, with values of their own: litellm changes some.

    A stream is asked for one choice only, since litellm's streams hold no more.
    """
    asked = decode(encode(request))
    arguments = {name: asked[name] for name in CHAT_FIELDS if name in asked}
    arguments |= {"model": model.name, "stream": request.stream and (request.n or 1) == 1}
    # Else it looks for its own MCP gateway among the client's tools, and fails without `mcp`.
    arguments["_skip_mcp_handler"] = True
    if arguments["stream"]:
        arguments["stream_options"] = {"include_usage": True}
    return arguments


def embedding_arguments(model: Model, request: EmbeddingRequest) -> dict[str, Any]:
    """Make the arguments of `aembedding`."""
    tokens = [list(row) for row in request.tokens]
    arguments: dict[str, Any] = {"model": model.name, "input": tokens or list(request.input)}
    if request.dimensions is not None:
        arguments["dimensions"] = request.dimensions
    if request.user is not None:
        arguments["user"] = request.user
    return arguments
