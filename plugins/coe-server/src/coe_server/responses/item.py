"""The items of the Responses API, and the chat messages that they stand for.

https://platform.openai.com/docs/api-reference/responses, as of 2026-11.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal, TypeAlias, assert_never

from attrs import evolve, field, frozen
from attrs.validators import min_len

from coe_core.message import FunctionCall, Json, Message, Part, ToolCall

ItemStatus: TypeAlias = Literal["in_progress", "completed", "incomplete"]


@frozen(kw_only=True)
class InputText:
    """Text that the model reads."""

    type: Literal["input_text"]
    text: str


@frozen(kw_only=True)
class InputImage:
    """An image that the model sees."""

    type: Literal["input_image"]
    image_url: str
    """An address, or the image itself as a `data:` address."""
    detail: str | None = None


@frozen(kw_only=True)
class InputFile:
    """A file that the model reads, for upstreams that take files."""

    type: Literal["input_file"]
    file_data: str | None = None
    file_id: str | None = None
    filename: str | None = None
    extra: Mapping[str, Json] = field(factory=dict)


@frozen(kw_only=True)
class InputAudio:
    """Sound that the model hears, for upstreams that take sound."""

    type: Literal["input_audio"]
    input_audio: Mapping[str, Json]
    """`data` in base64, and `format`."""


@frozen(kw_only=True)
class OutputText:
    """Text that the model wrote."""

    type: Literal["output_text"]
    text: str
    annotations: tuple[Json, ...] = field(factory=tuple)
    """Citations. The field is always there because clients iterate over it."""


@frozen(kw_only=True)
class Refusal:
    """What the model wrote instead of an answer."""

    type: Literal["refusal"]
    refusal: str


ContentPart: TypeAlias = InputText | InputImage | InputFile | InputAudio | OutputText | Refusal
InputPart: TypeAlias = InputText | InputImage | InputFile | InputAudio
OutputPart: TypeAlias = OutputText | Refusal


@frozen(kw_only=True)
class InputMessage:
    """A message of the conversation."""

    type: Literal["message"] = "message"
    role: Literal["user", "assistant", "system", "developer"]
    content: str | tuple[ContentPart, ...]


@frozen(kw_only=True)
class OutputMessage:
    """The model's message."""

    id: str
    type: Literal["message"] = "message"
    role: Literal["assistant"] = "assistant"
    status: ItemStatus
    content: tuple[OutputPart, ...]


@frozen(kw_only=True)
class InputFunctionCall:
    """A call that the model asked for earlier."""

    type: Literal["function_call"]
    call_id: str
    name: str = field(validator=min_len(1))
    arguments: str


@frozen(kw_only=True)
class OutputFunctionCall:
    """A call that the model asks the client for."""

    id: str
    type: Literal["function_call"] = "function_call"
    status: ItemStatus
    call_id: str
    name: str
    arguments: str
    """JSON, as the model wrote it."""


@frozen(kw_only=True)
class FunctionCallOutput:
    """What a call returned."""

    type: Literal["function_call_output"]
    call_id: str
    output: str | tuple[InputPart, ...]


@frozen(kw_only=True)
class Reasoning:
    """What a model thought, given back by a client. It is dropped: it belongs to that model."""

    type: Literal["reasoning"]


InputItem: TypeAlias = InputMessage | InputFunctionCall | FunctionCallOutput | Reasoning
OutputItem: TypeAlias = OutputMessage | OutputFunctionCall


def messages(items: Iterable[InputItem]) -> tuple[Message, ...]:
    """Make chat messages of items: an assistant's text and calls side by side are one message."""
    made: list[Message] = []
    for item in items:
        match item:
            case InputMessage():
                _add_message(made, _message(item))
            case InputFunctionCall():
                _add_call(made, item)
            case FunctionCallOutput():
                content = _content(item.output)
                made.append(Message(role="tool", tool_call_id=item.call_id, content=content))
            case Reasoning():
                pass
            case _:
                assert_never(item)
    return tuple(made)


def _message(item: InputMessage) -> Message:
    match item.content:
        case (Refusal(refusal=refusal),) if item.role == "assistant":
            return Message(role="assistant", extra={"refusal": refusal})
        case content:
            return Message(role=item.role, content=_content(content))


def _add_message(made: list[Message], message: Message) -> None:
    before = made[-1] if made else None
    if before and before.tool_calls and before.content is None and message.role == "assistant":
        made[-1] = evolve(message, tool_calls=before.tool_calls)
    else:
        made.append(message)


def _add_call(made: list[Message], item: InputFunctionCall) -> None:
    call = ToolCall(
        id=item.call_id, function=FunctionCall(name=item.name, arguments=item.arguments)
    )
    if made and made[-1].role == "assistant":
        made[-1] = evolve(made[-1], tool_calls=(*made[-1].tool_calls, call))
    else:
        made.append(Message(role="assistant", tool_calls=(call,)))


def _content(content: str | tuple[ContentPart, ...]) -> str | tuple[Part, ...]:
    match content:
        case str(text) | (InputText(text=text) | OutputText(text=text),):
            # A single text is sent as a string: every upstream takes that, and not all take parts.
            return text
        case parts:
            return tuple(_part(part) for part in parts)


def _part(part: ContentPart) -> Part:
    match part:
        case InputText(text=text) | OutputText(text=text):
            return Part(type="text", text=text)
        case InputImage(image_url=url, detail=detail):
            return Part(type="image_url", extra={"image_url": _given(url=url, detail=detail)})
        case InputFile():
            known = _given(file_data=part.file_data, file_id=part.file_id, filename=part.filename)
            return Part(type="file", extra={"file": {**known, **part.extra}})
        case InputAudio(input_audio=sound):
            return Part(type="input_audio", extra={"input_audio": sound})
        case Refusal(refusal=refusal):
            return Part(type="refusal", extra={"refusal": refusal})
        case _:
            assert_never(part)


def _given(**fields: Json) -> dict[str, Json]:
    return {name: value for name, value in fields.items() if value is not None}
