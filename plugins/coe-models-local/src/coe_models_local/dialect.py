"""Between OpenAI's terms and llama.cpp's."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Protocol

from attrs import evolve, field, frozen

from coe_core.codec import unstructure
from coe_core.error import ContextTooLong, InvalidField
from coe_core.identity import uuid7
from coe_core.message import Json, Message
from coe_core.model import Chunk, ToolCallDelta, Usage
from coe_core.request import ChatRequest, FunctionDefinition
from coe_models_local.frame import Frame
from coe_models_local.grammar import Bounds, grammar

ANSWER_TOKENS = 1024
"""The longest answer when nobody says: a small model may never stop by itself."""

SEEDS = 2**31

TOKEN_CHARACTERS = 64
"""More than any token has but one of blanks."""

PASSED_ON = (
    "frequency_penalty",
    "logit_bias",
    "logprobs",
    "min_p",
    "presence_penalty",
    "repeat_penalty",
    "top_k",
    "top_logprobs",
)
"""Fields that llama.cpp knows under the same name. No others: some would reach its slots."""


class Dialect(Protocol):
    """How to talk with a model, as its template allows."""

    def body(self) -> Frame:
        """Write the request. Blocks while a schema is compiled."""
        ...

    def chunk(self, frame: Frame) -> Chunk:
        """Read a piece of the answer."""
        ...


def check(request: ChatRequest, context_tokens: int) -> None:
    """Raise `InvalidField` for what no model here can do, and `ContextTooLong` for a prompt that
    cannot fit: to count the tokens of a few megabytes would take seconds that nobody can cancel.
    """
    characters = sum(len(message.text) for message in request.messages)
    if characters > context_tokens * TOKEN_CHARACTERS:
        msg = f"the prompt has {characters} characters, the model takes {context_tokens} tokens"
        raise ContextTooLong(f"{msg}: shorten it", param="messages")
    if request.n not in (None, 1):
        msg = "n: the local model gives one answer at a time; leave n out"
        raise InvalidField(msg, param="n")
    for number, message in enumerate(request.messages):
        if isinstance(message.content, tuple) and any(p.type != "text" for p in message.content):
            path = f"messages[{number}].content"
            msg = f"{path}: the local model reads text only; name another model for images or audio"
            raise InvalidField(msg, param=path)


@frozen(kw_only=True)
class Sampling:
    """How a model is sampled where the client has no wish: fields of llama.cpp's."""

    text: Mapping[str, Json] = field(factory=dict)
    json: Mapping[str, Json] = field(factory=lambda: {"repeat_penalty": 1.0})
    """Laid over `text` for what is written under a grammar. JSON repeats its quotes and what the
    prompt says; where that is punished, strings never end.
    """
    bounds: Bounds | None = None
    """How long the strings and lists of JSON may grow where a schema does not say."""

    def held(self, schema: Mapping[str, Json], *, param: str, strict: bool = False) -> Frame:
        """Write what holds a model to a schema."""
        written = grammar(schema, param=param, strict=strict, bounds=self.bounds)
        return {"grammar": written, **self.json}


@frozen
class NativeDialect:
    """For a model whose template has a place for tools, and that may call them or not: llama.cpp
    writes and reads the calls.
    """

    request: ChatRequest
    sampling: Sampling

    def body(self) -> Frame:
        """Write the request."""
        request = self.request
        body = _settings(request, self.sampling)
        body["messages"] = [unstructure(message) for message in request.messages]
        if not request.tools or request.tool_choice == "none":
            return body | _constraint(request, self.sampling)
        body["tools"] = [unstructure(tool) for tool in request.tools]
        if request.parallel_tool_calls is not None:
            body["parallel_tool_calls"] = request.parallel_tool_calls
        if request.response_format is not None:
            body["response_format"] = request.response_format
        return body

    def chunk(self, frame: Frame) -> Chunk:
        """Read a piece of the answer."""
        return _chunk(frame)


@frozen
class PlainDialect:
    """For a model that knows nothing of tools: what they said becomes text.

    And for a call that the client insists on, whatever the model knows: it is written under the
    grammar of its arguments. llama.cpp's own `required` leaves the model free not to call.
    """

    request: ChatRequest
    sampling: Sampling
    call: FunctionDefinition | None
    """The function that must be called."""
    _call_id: str = field(factory=lambda: f"call_{uuid7()}", init=False)

    def body(self) -> Frame:
        """Write the request."""
        messages = list(_plain(self.request.messages))
        body = _settings(self.request, self.sampling)
        if self.call is None:
            return body | _constraint(self.request, self.sampling) | {"messages": messages}
        schema = {"additionalProperties": False, **_parameters(self.call)}
        body |= self.sampling.held(schema, param="tools")
        body["temperature"] = self.request.temperature or 0
        return body | {"messages": _instructed(messages, _instruction(self.call))}

    def chunk(self, frame: Frame) -> Chunk:
        """Read a piece of the answer: of the call's arguments, when there is a call."""
        chunk = _chunk(frame)
        if self.call is None:
            return chunk
        opens = any("role" in choice["delta"] for choice in frame["choices"])
        piece = ToolCallDelta(
            index=0,
            id=self._call_id if opens else None,
            name=self.call.name if opens else None,
            arguments=chunk.content,
        )
        return evolve(
            chunk,
            content="",
            tool_calls=(piece,) if opens or chunk.content else (),
            finish_reason="tool_calls" if chunk.finish_reason == "stop" else chunk.finish_reason,
        )


def insists(request: ChatRequest) -> bool:
    """Whether the client insists on a call."""
    return request.tool_choice not in (None, "none", "auto")


def candidates(request: ChatRequest) -> list[FunctionDefinition]:
    """List the functions that satisfy a client that insists on a call. Raises `InvalidField`."""
    functions = [tool.function for tool in request.tools if tool.function is not None]
    match request.tool_choice:
        case "required":
            found = functions
        case {"function": {"name": name}}:
            found = [function for function in functions if function.name == name]
        case _:
            found = []
    if not found:
        known = ", ".join(function.name for function in functions) or "none"
        msg = f"tool_choice: it names no function in tools; there are: {known}"
        raise InvalidField(msg, param="tool_choice")
    return found


def _settings(request: ChatRequest, sampling: Sampling) -> Frame:
    """Write everything but messages, tools and constraints; the client's wish goes first."""
    wishes = {
        "temperature": request.temperature,
        "top_p": request.top_p,
        "seed": None if request.seed is None else request.seed % SEEDS,
        "stop": [request.stop] if isinstance(request.stop, str) else request.stop,
        **{name: request.extra.get(name) for name in PASSED_ON},
    }
    limit = {"max_tokens": min(request.output_limit_tokens or ANSWER_TOKENS, SEEDS - 1)}
    return {**sampling.text, **limit, **{k: v for k, v in wishes.items() if v is not None}}


def _constraint(request: ChatRequest, sampling: Sampling) -> Frame:
    match request.response_format:
        case None | {"type": "text"}:
            return {}
        case {"type": "json_object"}:
            schema, strict = {"type": "object"}, False
        case {"type": "json_schema", "json_schema": {"schema": dict(schema), **options}}:
            strict = options.get("strict") is True
        case _:
            msg = "response_format: expected the type text, json_object, or json_schema with one"
            raise InvalidField(msg, param="response_format")
    return sampling.held(schema, param="response_format", strict=strict)


def _plain(messages: Iterable[Message]) -> Iterator[Frame]:
    """Write messages with nothing but a role and a text, for templates that know no more."""
    names = {call.id: call.function.name for message in messages for call in message.tool_calls}
    for message in messages:
        match message.role:
            case "developer":
                role, text = "system", message.text
            case "tool" | "function":
                name = names.get(message.tool_call_id or "", message.name)
                role, text = "user", f"The function {name or ''} returned: {message.text}"
            case "assistant":
                calls = [f"{c.function.name}({c.function.arguments})" for c in message.tool_calls]
                role, text = "assistant", "\n".join(filter(None, [message.text, *calls]))
            case _:
                role, text = message.role, message.text
        yield {"role": role, "content": text}


def _instructed(messages: list[Frame], instruction: str) -> list[Frame]:
    """Add to the system message, which some templates allow only once, in the first place."""
    if messages[0]["role"] != "system":
        return [{"role": "system", "content": instruction}, *messages]
    text = f"{messages[0]['content']}\n\n{instruction}"
    return [{"role": "system", "content": text}, *messages[1:]]


def _instruction(function: FunctionDefinition) -> str:
    return (
        f"You call the function {function.name}. {function.description or ''}\n"
        "Answer with its arguments as JSON, taken from the conversation. Their schema: "
        f"{json.dumps(_parameters(function), ensure_ascii=False)}"
    )


def _parameters(function: FunctionDefinition) -> Mapping[str, Json]:
    return function.parameters or {"type": "object", "properties": {}}


def _chunk(frame: Frame) -> Chunk:
    usage = _usage(frame["usage"]) if frame.get("usage") else None
    for choice in frame["choices"]:
        delta = choice["delta"]
        return Chunk(
            content=delta.get("content") or "",
            tool_calls=tuple(_tool_call(piece) for piece in delta.get("tool_calls") or ()),
            finish_reason=choice.get("finish_reason"),
            usage=usage,
            delta_extra={name: delta[name] for name in ("reasoning_content",) if delta.get(name)},
            choice_extra={name: choice[name] for name in ("logprobs",) if choice.get(name)},
        )
    return Chunk(usage=usage)


def _tool_call(piece: Frame) -> ToolCallDelta:
    function = piece.get("function") or {}
    return ToolCallDelta(
        index=piece["index"],
        id=piece.get("id"),
        name=function.get("name"),
        arguments=function.get("arguments") or "",
    )


def _usage(usage: Frame) -> Usage:
    return Usage(
        input_tokens=usage["prompt_tokens"],
        output_tokens=usage["completion_tokens"],
        cached_input_tokens=usage["prompt_tokens_details"]["cached_tokens"],
    )
