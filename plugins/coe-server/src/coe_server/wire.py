"""OpenAI's shapes: what the handlers send.

https://platform.openai.com/docs/api-reference, as of 2026-11.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from urllib.parse import quote

import msgspec

from coe_core.answer import Answer
from coe_core.error import CoeError, RateLimited
from coe_core.http import HttpResponse
from coe_core.message import Json, Message, ToolCall
from coe_core.model import Chunk, Model, ToolCallDelta, Usage, Vectors
from coe_core.rate import RateLimits
from coe_core.record import Interaction
from coe_core.turn import Turn
from coe_server.citation import chat_annotations, remarks

SSE = "text/event-stream"
DONE = b"data: [DONE]\n\n"
COMMENT = b": the model is still at work\n\n"

SAFE = "".join(map(chr, range(ord("!"), ord("~") + 1))).replace("%", "")
"""What stands for itself in a header: printable ASCII but for the sign of the percent-encoding."""

dumps = msgspec.json.Encoder().encode


def event(value: Json) -> bytes:
    """Write a server-sent event."""
    return b"data: %b\n\n" % dumps(value)


def error_body(error: CoeError, request_id: str) -> Json:
    """Describe an error."""
    return {
        "error": {
            "message": error.message,
            "type": error.type,
            "param": error.param,
            "code": error.code,
            "request_id": request_id,
        }
    }


def error_response(
    error: CoeError, request_id: str, headers: Mapping[str, str] | None = None
) -> HttpResponse:
    """Answer with an error; says when to come again, what is left, and which method would do."""
    named = dict(headers or {})
    if isinstance(error, RateLimited):
        named |= _rates(error.limits)
    if error.retry_after_s is not None:
        named["retry-after"] = str(math.ceil(error.retry_after_s))
    if allow := getattr(error, "allow", None):
        named["allow"] = allow
    body = dumps(error_body(error, request_id))
    return HttpResponse(status=error.status, body=body, headers=named)


def turn_headers(turn: Turn, limits: RateLimits | None) -> dict[str, str]:
    """Name the turn and its session, and say what the group has left of its rates."""
    headers = {"x-coe-turn": turn.id, "x-coe-session": quote(turn.session.id, safe=SAFE)}
    return headers | _rates(limits)


def _rates(limits: RateLimits | None) -> dict[str, str]:
    headers: dict[str, str] = {}
    units = {"requests": limits.requests, "tokens": limits.tokens} if limits is not None else {}
    for unit, rate in units.items():
        if rate is not None:
            headers[f"x-ratelimit-limit-{unit}"] = str(rate.limit)
            headers[f"x-ratelimit-remaining-{unit}"] = str(rate.remaining)
            headers[f"x-ratelimit-reset-{unit}"] = f"{rate.reset_s:.3f}s"
    return headers


def usage_body(usage: Usage) -> Json:
    """Count tokens as a chat completion does."""
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.total_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_input_tokens},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
    }


def head(turn: Turn, kind: str, model: str) -> dict[str, Json]:
    """Begin a completion or a chunk; the id stays the same for the whole turn."""
    return {
        "id": f"chatcmpl-{turn.id}",
        "object": kind,
        "created": int(turn.started_at.timestamp()),
        "model": model,
    }


def completion_body(answer: Answer) -> Json:
    """Write a whole answer."""
    ended = answer.ended
    choices = zip(answer.messages, answer.choice_extras, ended.finish_reasons, strict=True)
    return {
        **head(answer.admitted.turn, "chat.completion", ended.model),
        "choices": [
            {
                "index": index,
                "message": message_body(message) | _annotated(message, ended.record, index),
                **extra,
                "finish_reason": reason,
            }
            for index, (message, extra, reason) in enumerate(choices)
        ],
        "usage": usage_body(ended.usage),
        **answer.extra,
        **remarks(ended),
    }


def _annotated(message: Message, record: Interaction, index: int) -> dict[str, Json]:
    """Add our annotations to those of the upstream's."""
    ours = chat_annotations(record, index)
    theirs = message.extra.get("annotations")
    return {"annotations": theirs + ours["annotations"]} if ours and theirs else ours


def message_body(message: Message) -> Json:
    """Write an assistant's message."""
    body: dict[str, Json] = {"role": message.role, "content": message.content, "refusal": None}
    if message.tool_calls:
        body["tool_calls"] = _calls(message.tool_calls)
    return body | dict(message.extra)


def _calls(calls: tuple[ToolCall, ...]) -> Json:
    return [
        {
            "id": call.id,
            "type": call.type,
            "function": {
                "name": call.function.name,
                "arguments": call.function.arguments,
                **call.function.extra,
            },
            **call.extra,
        }
        for call in calls
    ]


def delta_body(chunk: Chunk) -> dict[str, Json]:
    """Write what a chunk adds to its choice."""
    delta: dict[str, Json] = dict(chunk.delta_extra)
    if chunk.content:
        delta["content"] = chunk.content
    if chunk.tool_calls:
        delta["tool_calls"] = [_call_delta(call) for call in chunk.tool_calls]
    return delta


def _call_delta(call: ToolCallDelta) -> Json:
    function: dict[str, Json] = {"arguments": call.arguments}
    delta: dict[str, Json] = {"index": call.index, **call.extra, "function": function}
    if call.name is not None:
        function["name"] = call.name
    if call.id is not None:
        delta |= {"id": call.id, "type": "function"}
    return delta


def embeddings_body(model: str, vectors: Vectors, encoding_format: str) -> Json:
    """List vectors, as numbers or in base64."""
    rows: list[Json]
    if encoding_format == "base64":
        rows = [base64.b64encode(vectors.row_bytes(row)).decode() for row in range(len(vectors))]
    else:
        rows = list(vectors.rows())
    usage = vectors.usage
    return {
        "object": "list",
        "data": [
            {"object": "embedding", "index": index, "embedding": row}
            for index, row in enumerate(rows)
        ],
        "model": model,
        "usage": {"prompt_tokens": usage.input_tokens, "total_tokens": usage.total_tokens},
    }


def model_body(alias: str, model: Model | None) -> Json:
    """Describe an alias; `auto` has no model behind it."""
    owner = model.provider if model is not None else "coe"
    return {"id": alias, "object": "model", "created": 0, "owned_by": owner}
