"""Messages and requests, as OpenAI's clients send them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from operator import attrgetter
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from coe_core.codec import encode
from coe_core.message import FunctionCall, Json, Message, Part, ToolCall
from coe_core.request import (
    ChatRequest,
    EmbeddingRequest,
    FunctionDefinition,
    StreamOptions,
    ToolDefinition,
)
from coe_core.testing.strategies.schema import json_objects, json_values, object_schemas
from coe_core.testing.strategies.text import names, texts


@cache
def nothing() -> SearchStrategy[dict[str, Json]]:
    """No fields; each time an object of its own, so that nothing is left of who changes it."""
    return st.builds(dict)


@cache
def unknown_fields(*known: str) -> SearchStrategy[Mapping[str, Json]]:
    """Fields of tomorrow's clients, which must survive."""
    keys = names().map("x_{}".format).filter(lambda name: name not in known)
    return st.one_of(nothing(), st.builds(lambda key, value: {key: value}, keys, json_values()))


@cache
def parts() -> SearchStrategy[Part]:
    """Parts of a multimodal message: text, images, audio."""

    def build(kind: str, **content: str) -> Part:
        return Part(type=kind, extra={kind: content})

    picture = "data:image/png;base64,iVBORw0KGgo="
    return st.one_of(
        st.builds(Part, type=st.just("text"), text=texts(), extra=nothing()),
        st.builds(build, st.just("image_url"), url=st.just(picture)),
        st.builds(build, st.just("input_audio"), data=st.just("UklGRg=="), format=st.just("wav")),
    )


@cache
def contents() -> SearchStrategy[str | tuple[Part, ...]]:
    """What a user message holds: text, or parts."""
    return st.one_of(texts(), st.lists(parts(), min_size=1, max_size=3).map(tuple))


@cache
def tool_calls() -> SearchStrategy[ToolCall]:
    """Calls of functions; one in some has arguments that are no JSON, as models write them."""
    arguments = st.one_of(
        json_objects().map(lambda value: encode(value).decode()),
        st.sampled_from(["", "{", "null", "[1]", '{"a": 1,}']),
    )
    ids = st.integers(0, 10**9).map("call_{:09}".format)
    functions = st.builds(FunctionCall, name=names(), arguments=arguments, extra=nothing())
    return st.builds(ToolCall, id=ids, function=functions, type=st.just("function"))


@cache
def exchanges() -> SearchStrategy[tuple[Message, ...]]:
    """An assistant's calls of tools, and a result for each."""

    def answered(calls: list[ToolCall], content: str | None, result: str) -> tuple[Message, ...]:
        asked = Message(role="assistant", content=content, tool_calls=tuple(calls))
        results = (Message(role="tool", content=result, tool_call_id=call.id) for call in calls)
        return (asked, *results)

    calls = st.lists(tool_calls(), min_size=1, max_size=2, unique_by=lambda call: call.id)
    return st.builds(answered, calls, st.none() | texts(), texts())


def _said(role: Any) -> SearchStrategy[Message]:
    return st.builds(
        Message,
        role=st.just(role),
        content=contents() if role == "user" else texts(),
        name=st.none() | names() if role == "user" else st.none(),
        extra=unknown_fields(),
        tool_calls=st.just(()),
        tool_call_id=st.none(),
    )


@cache
def messages() -> SearchStrategy[Message]:
    """Any one message."""
    single = st.sampled_from(["system", "developer", "user", "assistant"]).flatmap(_said)
    return st.one_of(single, exchanges().flatmap(st.sampled_from))


@st.composite
def conversations(draw: st.DrawFn) -> tuple[Message, ...]:
    """Messages in an order that a model accepts; the last one is the user's or a tool's."""
    opening = draw(st.lists(_said("system"), max_size=1))
    middle: list[Message] = []
    for _ in range(draw(st.sampled_from([0, 0, 1]))):
        middle.append(draw(_said("user")))
        middle.extend(draw(st.one_of(st.just(()), exchanges())))
        middle.append(draw(_said("assistant")))
    ending = draw(st.one_of(st.just(()), exchanges()))
    return (*opening, *middle, draw(_said("user")), *ending)


@cache
def tool_definitions() -> SearchStrategy[ToolDefinition]:
    """Functions that a client offers, with a JSON Schema of their arguments."""
    functions = st.builds(
        FunctionDefinition,
        name=names(),
        description=st.none() | texts(),
        parameters=st.none() | object_schemas(),
        extra=nothing(),
    )
    return st.builds(ToolDefinition, type=st.just("function"), function=functions, extra=nothing())


@cache
def _tools() -> SearchStrategy[list[ToolDefinition]]:
    name = attrgetter("function.name")
    return st.lists(tool_definitions(), min_size=1, max_size=2, unique_by=name)


@st.composite
def chat_requests(
    draw: st.DrawFn, model: SearchStrategy[str] | None = None, *, choices: int = 2
) -> ChatRequest:
    """Requests for a chat completion of at most `choices` choices."""
    tools = draw(st.just([]) | _tools())
    stream = draw(st.booleans())
    return ChatRequest(
        model=draw(names() if model is None else model),
        messages=draw(conversations()),
        tools=tuple(tools),
        tool_choice=draw(st.sampled_from([None, "auto", "none"])) if tools else None,
        stream=stream,
        stream_options=StreamOptions(include_usage=draw(st.booleans())) if stream else None,
        max_completion_tokens=draw(st.none() | st.integers(1, 64)),
        temperature=draw(st.none() | st.floats(0, 2)),
        top_p=draw(st.none() | st.floats(0.1, 1)),
        n=draw(st.none() | st.integers(1, choices)),
        stop=draw(st.sampled_from([None, "END", ("\n\n", "끝")])),
        seed=draw(st.none() | st.integers(0, 2**31 - 1)),
        user=draw(st.none() | names()),
        metadata=draw(st.none() | st.dictionaries(names(), texts(), max_size=1)),
        extra=draw(unknown_fields()),
    )


@cache
def embedding_requests(
    model: SearchStrategy[str] | None = None,
) -> SearchStrategy[EmbeddingRequest]:
    """Requests to embed one to four texts."""
    return st.builds(
        EmbeddingRequest,
        model=names() if model is None else model,
        input=st.lists(texts(), min_size=1, max_size=4).map(tuple),
        tokens=st.just(()),
        purpose=st.sampled_from(["query", "passage"]),
        dimensions=st.none(),
        user=st.none(),
        extra=nothing(),
    )
