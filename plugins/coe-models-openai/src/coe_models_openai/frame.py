"""What an upstream sends of an answer, decoded into chunks.

A frame is decoded once, to JSON values; `msgspec.convert` then checks and picks the fields that we
know, and what is left over is kept as it came.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from attrs import define, field

from coe_core.message import Json
from coe_core.model import Chunk, ToolCallDelta, Usage
from coe_models_openai.tool_call import ToolCallPiece, ToolCalls, unknown

Count = int | float | None
"""Some upstreams count in floats, or send null."""


class InputDetails(msgspec.Struct):
    """What the input tokens are made of."""

    cached_tokens: Count = None


class OutputDetails(msgspec.Struct):
    """What the output tokens are made of."""

    reasoning_tokens: Count = None


class UsageFrame(msgspec.Struct):
    """Tokens, as billed."""

    prompt_tokens: Count = None
    completion_tokens: Count = None
    prompt_tokens_details: InputDetails | None = None
    completion_tokens_details: OutputDetails | None = None

    def usage(self) -> Usage:
        """Return it in our terms; a count that is absent is zero."""
        cached = self.prompt_tokens_details and self.prompt_tokens_details.cached_tokens
        reasoning = (
            self.completion_tokens_details and self.completion_tokens_details.reasoning_tokens
        )
        return Usage(
            input_tokens=int(self.prompt_tokens or 0),
            output_tokens=int(self.completion_tokens or 0),
            cached_input_tokens=int(cached or 0),
            reasoning_tokens=int(reasoning or 0),
        )


class Speech(msgspec.Struct):
    """A `delta`, or the `message` of a plain answer."""

    role: str | None = None
    content: str | list[dict[str, Any]] | None = None
    tool_calls: list[ToolCallPiece] | None = None


class Choice(msgspec.Struct):
    """One of the answers, or a piece of one."""

    index: int | None = None
    delta: Speech | None = None
    message: Speech | None = None
    finish_reason: str | None = None


class Frame(msgspec.Struct):
    """One event of a stream, or a plain answer."""

    id: Any = None
    object: Any = None
    created: Any = None
    model: Any = None
    choices: list[Choice] | None = None
    usage: UsageFrame | None = None


FRAME_FIELDS = frozenset({*Frame.__struct_fields__, "error"})
CHOICE_FIELDS = frozenset(Choice.__struct_fields__)
SPEECH_FIELDS = frozenset(Speech.__struct_fields__)


class NotAFrame(ValueError):
    """JSON, but not of the protocol."""


class ErrorFrame(Exception):
    """An error in place of an answer. `body` is what was sent."""

    def __init__(self, body: Json) -> None:
        super().__init__("the upstream sent an error")
        self.body = body


def decode_json(text: bytes) -> Json:
    """Decode JSON. Raises `NotAFrame`."""
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise NotAFrame(f"invalid JSON: {error}") from error


def convert(value: Json, kind: type[Any]) -> Any:
    """Check a JSON value against a Struct. Raises `NotAFrame`."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise NotAFrame(str(error)) from error


@define
class AnswerDecoder:
    """Decodes the frames of one answer with `choices` choices."""

    choices: int = 1
    _seen: set[int] = field(factory=set, init=False)
    _finished: set[int] = field(factory=set, init=False)
    _calls: dict[int, ToolCalls] = field(factory=dict, init=False)

    @property
    def finished(self) -> bool:
        """Whether every choice that was asked for has its finish reason."""
        return len(self._finished) >= self.choices

    @property
    def whole(self) -> bool:
        """Whether every choice that came has its finish reason: not every upstream knows `n`."""
        return bool(self._finished) and self._seen <= self._finished

    def chunks(self, text: bytes) -> list[Chunk]:
        """Decode one frame. Raises `NotAFrame` or `ErrorFrame`."""
        value = decode_json(text)
        if not isinstance(value, dict):
            raise NotAFrame("a frame that is no object")
        if value.get("error") is not None:
            raise ErrorFrame(value)
        frame: Frame = convert(value, Frame)
        extra = unknown(value, FRAME_FIELDS)
        usage = frame.usage.usage() if frame.usage is not None else None
        if not frame.choices:
            return [Chunk(usage=usage, extra=extra)] if usage is not None or extra else []
        last = len(frame.choices) - 1
        return [
            self._chunk(
                choice,
                value["choices"][place],
                index=place if choice.index is None else choice.index,
                usage=usage if place == last else None,
                extra=extra if place == 0 else {},
            )
            for place, choice in enumerate(frame.choices)
        ]

    def answer(self, text: bytes) -> list[Chunk]:
        """Decode a plain answer. Raises `NotAFrame` or `ErrorFrame`."""
        chunks = self.chunks(text)
        if not any(chunk.finish_reason for chunk in chunks):
            raise NotAFrame("an answer without a choice that is finished")
        return chunks

    def _chunk(
        self, choice: Choice, raw: dict[str, Any], *, index: int, usage: Usage | None, extra: Json
    ) -> Chunk:
        # Some upstreams send beside each delta the message so far: the delta is enough.
        speech = choice.message if choice.delta is None else choice.delta
        said = raw.get("message" if choice.delta is None else "delta") or {}
        content, parts = _content(speech.content if speech else None)
        delta_extra = unknown(said, SPEECH_FIELDS)
        if parts:
            delta_extra["content_parts"] = parts
        self._seen.add(index)
        if reason := _finish_reason(choice):
            self._finished.add(index)
        return Chunk(
            content=content,
            tool_calls=self._tool_calls(index, speech, said),
            finish_reason=reason,
            usage=usage,
            index=index,
            delta_extra=delta_extra,
            choice_extra=unknown(raw, CHOICE_FIELDS),
            extra=extra,
        )

    def _tool_calls(
        self, index: int, speech: Speech | None, said: Mapping[str, Any]
    ) -> tuple[ToolCallDelta, ...]:
        if speech is None or not speech.tool_calls:
            return ()
        calls = self._calls.setdefault(index, ToolCalls())
        pairs = zip(speech.tool_calls, said["tool_calls"], strict=True)
        return tuple(calls.delta(piece, raw) for piece, raw in pairs)


def _content(content: str | list[dict[str, Any]] | None) -> tuple[str, list[dict[str, Any]]]:
    """Return the text, and the parts that are none: some models write both."""
    if not isinstance(content, list):
        return content or "", []
    texts = [part["text"] for part in content if isinstance(part.get("text"), str)]
    return "".join(texts), [part for part in content if not isinstance(part.get("text"), str)]


def _finish_reason(choice: Choice) -> str | None:
    """Return the finish reason; a whole message is finished, whatever its upstream forgot."""
    if choice.finish_reason or choice.delta is not None or choice.message is None:
        return choice.finish_reason or None
    return "tool_calls" if choice.message.tool_calls else "stop"
