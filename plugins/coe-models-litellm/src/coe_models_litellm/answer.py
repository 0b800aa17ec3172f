"""What litellm answers, as chunks and vectors."""

from __future__ import annotations

from array import array
from base64 import b64decode
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from coe_core.model import Chunk, ToolCallDelta, Usage, Vectors

FRAME_FIELDS = frozenset({"choices", "created", "id", "model", "object", "usage"})
CHOICE_FIELDS = frozenset({"delta", "finish_reason", "index", "message"})
SPEECH_FIELDS = frozenset({"content", "role", "tool_calls"})
CALL_FIELDS = frozenset({"function", "id", "index", "type"})


def chunks(frame: Any) -> Iterator[Chunk]:
    """Decode a plain answer or one chunk of a stream, without its usage; empty ones give none."""
    value = frame.model_dump(exclude_none=True)
    extra = _unknown(value, FRAME_FIELDS)
    for choice in value.get("choices") or ():
        chunk = _chunk(choice, extra)
        if chunk != Chunk(index=chunk.index, extra=extra):
            yield chunk


def _chunk(choice: Mapping[str, Any], extra: Mapping[str, Any]) -> Chunk:
    speech = choice.get("delta") or choice.get("message") or {}
    calls = enumerate(speech.get("tool_calls") or ())
    return Chunk(
        content=speech.get("content") or "",
        tool_calls=tuple(_tool_call(place, call) for place, call in calls),
        finish_reason=choice.get("finish_reason"),
        index=choice.get("index", 0),
        delta_extra=_unknown(speech, SPEECH_FIELDS),
        choice_extra=_unknown(choice, CHOICE_FIELDS),
        extra=extra,
    )


def _tool_call(place: int, call: Mapping[str, Any]) -> ToolCallDelta:
    function = call.get("function") or {}
    return ToolCallDelta(
        index=call.get("index", place),
        id=call.get("id"),
        name=function.get("name"),
        arguments=function.get("arguments") or "",
        extra=_unknown(call, CALL_FIELDS),
    )


def _unknown(value: Mapping[str, Any], known: Collection[str]) -> dict[str, Any]:
    """Return the fields that we do not know, without those that litellm adds and leaves empty."""
    rest = {name: inner for name, inner in value.items() if name not in known}
    return {name: inner for name, inner in rest.items() if _says_something(inner)}


def _says_something(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(inner is not None for inner in value.values())
    return value is not None


def is_finished(stream: Any) -> bool:
    """Tell whether the upstream itself has sent a finish reason."""
    return bool(stream.received_finish_reason or stream.intermittent_finish_reason)


def last_usage(frames: Sequence[Any]) -> Usage | None:
    """Find the usage that the upstream reported, None when it reported none.

    litellm makes figures up, for a stream by counting and for a plain answer as zeros; so only the
    frames as they came are looked at, and zeros are no report.
    """
    for frame in reversed(frames):
        if found := getattr(frame, "usage", None):
            usage = _usage(found.model_dump())
            return usage if usage.total_tokens else None
    return None


def _usage(value: Mapping[str, Any]) -> Usage:
    input_details = value.get("prompt_tokens_details") or {}
    output_details = value.get("completion_tokens_details") or {}
    return Usage(
        input_tokens=value.get("prompt_tokens") or 0,
        output_tokens=value.get("completion_tokens") or 0,
        cached_input_tokens=input_details.get("cached_tokens") or 0,
        reasoning_tokens=output_details.get("reasoning_tokens") or 0,
    )


def vectors(response: Any, count: int) -> Vectors:
    """Decode the vectors of `count` inputs. Raises `ValueError` when they are not that."""
    value = response.model_dump()
    rows = sorted(value["data"], key=lambda row: int(row["index"]))
    if [row["index"] for row in rows] != list(range(count)):
        raise ValueError(f"{len(rows)} vectors came for {count} inputs")
    numbers = [_numbers(row["embedding"]) for row in rows]
    if len({len(row) for row in numbers}) != 1 or not numbers[0]:
        raise ValueError("the vectors are not of one length")
    return Vectors.of(numbers, last_usage([response]))


def _numbers(embedding: Any) -> Sequence[float]:
    if not isinstance(embedding, str):
        return list(map(float, embedding))
    flat = array("f")
    flat.frombytes(b64decode(embedding))
    return flat
