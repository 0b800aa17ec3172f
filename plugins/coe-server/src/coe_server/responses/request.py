"""A request to the Responses API, and the chat request that it stands for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeAlias

import attrs
from attrs import field, frozen
from attrs.validators import ge, le, min_len, optional

from coe_core.codec import converter
from coe_core.error import InvalidField
from coe_core.identity import TurnId
from coe_core.message import Json, Message, instructions, user
from coe_core.request import ChatRequest, FunctionDefinition, ToolDefinition
from coe_server.chat import CoeOptions
from coe_server.responses.item import InputItem, messages

ID_PREFIX = "resp_"
"""A response's id is this and the id of its turn."""

ELSEWHERE: Mapping[str, str] = {
    "background": "answer in the foreground, or stream",
    "conversation": "continue with previous_response_id",
    "max_tool_calls": "no tools of OpenAI's own run here",
    "prompt": "send the prompt's text as instructions",
}
"""What only OpenAI's own servers do: field to what to do instead."""

CHAT_ONLY = frozenset(attribute.name for attribute in attrs.fields(ChatRequest)) - {"extra"}

DROPPED = ("include", "stream_options")
"""Fields about parts of an answer that is never given here: encrypted reasoning, padding."""


@frozen(kw_only=True)
class FunctionTool:
    """A function that the client offers the model."""

    type: Literal["function"]
    name: str = field(validator=min_len(1))
    description: str | None = None
    parameters: Mapping[str, Json] | None = None
    """JSON Schema of the arguments."""
    strict: bool | None = None


def _refuse_other_tools(structure: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    def checked(value: Any, cls: Any) -> Any:
        if type(value) is dict and (kind := value.get("type")) != "function":
            raise ValueError(
                f"a tool of the type {kind!r:.80} would run on OpenAI's own servers; give function "
                "tools, or ask the model 'auto', which is offered the tools of CoE's plugins"
            )
        return structure(value, cls)

    return checked


converter.register_structure_hook(
    FunctionTool, _refuse_other_tools(converter.get_structure_hook(FunctionTool))
)


@frozen(kw_only=True)
class FunctionChoice:
    """The tool that the model must call."""

    type: Literal["function"]
    name: str


@frozen(kw_only=True)
class AllowedTools:
    """The tools that the model may call, or must call one of."""

    type: Literal["allowed_tools"]
    mode: Literal["auto", "required"]
    tools: tuple[FunctionChoice, ...]


ToolMode: TypeAlias = Literal["none", "auto", "required"]
ToolChoice: TypeAlias = ToolMode | FunctionChoice | AllowedTools


@frozen(kw_only=True)
class PlainFormat:
    """Text as it comes."""

    type: Literal["text"]


@frozen(kw_only=True)
class JsonFormat:
    """Some JSON object."""

    type: Literal["json_object"]


@frozen(kw_only=True)
class SchemaFormat:
    """JSON that fits a schema."""

    type: Literal["json_schema"]
    name: str
    schema: Mapping[str, Json]
    description: str | None = None
    strict: bool | None = None


TextFormat: TypeAlias = PlainFormat | JsonFormat | SchemaFormat


@frozen(kw_only=True)
class TextOptions:
    """What the text of the answer is like."""

    format: TextFormat | None = None
    verbosity: Literal["low", "medium", "high"] | None = None


@frozen(kw_only=True)
class ReasoningOptions:
    """How long a reasoning model thinks. Summaries of what it thought are not given."""

    effort: str | None = None
    summary: str | None = None


SPOKEN = {"not": {"properties": {"type": {"const": "reasoning"}}, "required": ["type"]}}
"""JSON Schema of what becomes a message."""


@frozen(kw_only=True)
class ResponseRequest:
    """A request for a response.

    https://platform.openai.com/docs/api-reference/responses/create, as of 2026-11. What the class
    does not name is passed on to the upstream. Every turn is recorded, whatever `store` says.
    """

    model: str = field(validator=min_len(1))
    input: str | tuple[InputItem, ...] = field(
        validator=min_len(1), metadata={"schema": {"contains": SPOKEN}}
    )
    instructions: str | None = None
    """A system message for this response alone."""
    previous_response_id: str | None = None
    """The response that this one continues."""
    tools: tuple[FunctionTool, ...] = ()
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    text: TextOptions | None = None
    reasoning: ReasoningOptions | None = None
    max_output_tokens: int | None = field(default=None, validator=optional(ge(1)))
    temperature: float | None = field(default=None, validator=optional([ge(0), le(2)]))
    top_p: float | None = field(default=None, validator=optional([ge(0), le(1)]))
    truncation: Literal["disabled"] | None = None
    metadata: Mapping[str, Json] | None = None
    user: str | None = None
    store: bool | None = None
    stream: bool = False
    coe: CoeOptions | None = None
    extra: Mapping[str, Json] = field(factory=dict)


def chat_request(request: ResponseRequest) -> ChatRequest:
    """Say the same in the terms of chat completions. Raises `InvalidField`."""
    _refuse_foreign(request.extra)
    passed_on = {name: value for name, value in request.extra.items() if name not in DROPPED}
    return ChatRequest(
        model=request.model,
        messages=(*_instructions(request), *_input(request)),
        tools=tuple(_tool(tool) for tool in request.tools),
        tool_choice=_choice(request.tool_choice),
        parallel_tool_calls=request.parallel_tool_calls,
        response_format=_format(request.text),
        stream=request.stream,
        max_completion_tokens=request.max_output_tokens,
        temperature=request.temperature,
        top_p=request.top_p,
        user=request.user,
        extra={**_efforts(request), **passed_on},
    )


def turn_id(response_id: str) -> TurnId:
    """Return the turn of a response; for an id that is no response's, one that no turn has."""
    return TurnId(response_id.removeprefix(ID_PREFIX) if response_id.startswith(ID_PREFIX) else "")


def _refuse_foreign(extra: Mapping[str, Json]) -> None:
    for name in extra:
        if name in ELSEWHERE and extra[name]:
            raise InvalidField(f"{name} is not supported here; {ELSEWHERE[name]}", param=name)
        # Passed on, it would take the place of what was read and checked under another name.
        if name in CHAT_ONLY - set(DROPPED):
            raise InvalidField(
                f"{name} is a field of chat completions, not of responses", param=name
            )


def _instructions(request: ResponseRequest) -> tuple[Message, ...]:
    if request.instructions is None:
        return ()
    return (instructions(request.instructions),)


def _input(request: ResponseRequest) -> tuple[Message, ...]:
    if isinstance(request.input, str):
        return (user(request.input),)
    if not (made := messages(request.input)):
        raise InvalidField("input: there is nothing in it but reasoning", param="input")
    return made


def _tool(tool: FunctionTool) -> ToolDefinition:
    strictness = {} if tool.strict is None else {"strict": tool.strict}
    function = FunctionDefinition(
        name=tool.name,
        description=tool.description,
        parameters=tool.parameters,
        extra=strictness,
    )
    return ToolDefinition(function=function)


def _choice(choice: ToolChoice | None) -> str | Mapping[str, Json] | None:
    match choice:
        case FunctionChoice():
            return _chosen(choice)
        case AllowedTools(mode=mode, tools=tools):
            allowed = {"mode": mode, "tools": [_chosen(tool) for tool in tools]}
            return {"type": "allowed_tools", "allowed_tools": allowed}
        case _:
            return choice


def _chosen(choice: FunctionChoice) -> dict[str, Json]:
    return {"type": "function", "function": {"name": choice.name}}


def _format(text: TextOptions | None) -> dict[str, Json] | None:
    match text and text.format:
        case SchemaFormat() as wanted:
            given = attrs.asdict(wanted, filter=lambda _, value: value is not None)
            del given["type"]
            return {"type": "json_schema", "json_schema": given}
        case JsonFormat():
            return {"type": "json_object"}
        case _:
            return None


def _efforts(request: ResponseRequest) -> dict[str, Json]:
    wanted = {
        "verbosity": request.text and request.text.verbosity,
        "reasoning_effort": request.reasoning and request.reasoning.effort,
    }
    return {name: value for name, value in wanted.items() if value is not None}
