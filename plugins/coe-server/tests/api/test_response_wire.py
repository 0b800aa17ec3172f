"""Nothing is lost between the Responses API and chat: properties of the conversions."""

from __future__ import annotations

from itertools import groupby
from operator import itemgetter
from typing import Any

from attrs import evolve
from coe_server.responses.item import InputItem, messages
from coe_server.responses.output import Output
from coe_server.responses.request import ResponseRequest, chat_request
from hypothesis import given
from hypothesis import strategies as st

from coe_core.answer import AnswerBuilder
from coe_core.codec import decode, encode, structure, unstructure
from coe_core.message import Message, Part
from coe_core.model import Chunk, ToolCallDelta
from coe_core.record import conversation_digest
from coe_core.request import ToolDefinition
from coe_core.testing.strategies import conversations, names, texts, tool_definitions


def items_of(conversation: tuple[Message, ...]) -> list[Any]:
    """Say a conversation in items, as a client of the Responses API would."""
    items: list[Any] = []
    for message in conversation:
        if message.role == "tool":
            output = {"type": "function_call_output", "call_id": message.tool_call_id}
            items.append(output | {"output": content_of(message, "input_text")})
            continue
        kind = "output_text" if message.role == "assistant" else "input_text"
        if message.content is not None:
            items.append({"role": message.role, "content": content_of(message, kind)})
        items.extend(
            {
                "type": "function_call",
                "call_id": call.id,
                "name": call.function.name,
                "arguments": call.function.arguments,
            }
            for call in message.tool_calls
        )
    return items


def content_of(message: Message, kind: str) -> Any:
    if not isinstance(message.content, tuple):
        return message.content
    return [part_of(part, kind) for part in message.content]


def part_of(part: Part, kind: str) -> Any:
    match part.type:
        case "text":
            return {"type": kind, "text": part.text}
        case "image_url":
            image = part.extra["image_url"]
            return {"type": "input_image", "image_url": image["url"], "detail": image.get("detail")}
        case _:
            return {"type": "input_audio", **part.extra}


def plain(message: Message) -> Message:
    """A message as the Responses API can say it: without a name or unknown fields; a single text
    is a string.
    """
    content = message.content
    if isinstance(content, tuple) and len(content) == 1 and content[0].type == "text":
        content = content[0].text
    return evolve(message, content=content, name=None, extra={})


@given(conversations())
def test_a_conversation_survives_being_said_in_items(conversation: tuple[Message, ...]) -> None:
    items = structure(decode(encode(items_of(conversation))), tuple[InputItem, ...])
    assert messages(items) == tuple(plain(message) for message in conversation)


@given(st.lists(tool_definitions(), max_size=3), st.booleans() | st.none())
def test_tools_survive(tools: list[ToolDefinition], strict: Any) -> None:
    flat = [
        {"type": "function", **unstructure(tool.function)}
        | ({} if strict is None else {"strict": strict})
        for tool in tools
    ]
    body = {"model": "m", "input": "?", "tools": flat}
    asked = chat_request(structure(body, ResponseRequest))
    nested = [{"type": "function", "function": {**tool}} for tool in flat]
    for tool in nested:
        del tool["function"]["type"]
    assert unstructure(asked.tools) == nested


@given(st.dictionaries(names().map("x_{}".format), texts()), st.sampled_from([0, 0.5, 2]))
def test_fields_of_tomorrow_are_passed_on(extra: dict[str, str], temperature: float) -> None:
    body = {"model": "m", "input": "?", "temperature": temperature} | extra
    asked = chat_request(structure(body, ResponseRequest))
    assert dict(asked.extra) == extra
    assert asked.temperature == temperature


def choice_of(name: str, mode: str) -> list[tuple[Any, Any]]:
    nested = {"type": "function", "function": {"name": name}}
    flat = {"type": "function", "name": name}
    allowed = {"mode": mode, "tools": [nested]}
    return [
        (None, None),
        ("required", "required"),
        (flat, nested),
        (
            {"type": "allowed_tools", "mode": mode, "tools": [flat]},
            {"type": "allowed_tools", "allowed_tools": allowed},
        ),
    ]


@given(names(), st.sampled_from(["auto", "required"]), st.integers(0, 3))
def test_the_choice_of_a_tool_survives(name: str, mode: str, which: int) -> None:
    flat, nested = choice_of(name, mode)[which]
    body = {"model": "m", "input": "?", "tool_choice": flat}
    assert chat_request(structure(body, ResponseRequest)).tool_choice == nested


@st.composite
def chunk_streams(draw: st.DrawFn) -> list[Chunk]:
    """Pieces of an answer in any order in which an upstream may write them."""
    opened: set[int] = set()
    chunks = []
    for _ in range(draw(st.integers(0, 12))):
        index = draw(st.integers(0, min(2, len(opened))))
        match draw(st.sampled_from(["text", "refusal", "call"])):
            case "text":
                chunks.append(Chunk(content=draw(texts())))
            case "refusal":
                chunks.append(Chunk(delta_extra={"refusal": draw(texts())}))
            case _:
                first = index not in opened
                opened.add(index)
                delta = ToolCallDelta(
                    index=index,
                    id=f"call_{index}" if first else None,
                    name=f"tool_{index}" if first else None,
                    arguments=draw(texts()),
                )
                chunks.append(Chunk(tool_calls=(delta,)))
    return chunks


@given(chunk_streams())
def test_the_events_of_a_stream_add_up_to_its_output(chunks: list[Chunk]) -> None:
    output = Output("t1")
    events = [event for chunk in chunks for event in output.add(chunk)]
    events.extend(output.finish("completed"))
    assert add_up(decode(encode(events))) == decode(encode(output.items("completed")))


@given(chunk_streams())
def test_what_was_said_is_in_the_output_in_its_order(chunks: list[Chunk]) -> None:
    output = Output("t1")
    for chunk in chunks:
        list(output.add(chunk))
    said = [
        (kind, text)
        for chunk in chunks
        for kind, text in (
            ("output_text", chunk.content),
            ("refusal", chunk.delta_extra.get("refusal", "")),
        )
        if text
    ]
    stretches = [
        (kind, "".join(text for _, text in stretch))
        for kind, stretch in groupby(said, key=itemgetter(0))
    ]
    parts = [p for i in output.items("completed") if i.type == "message" for p in i.content]
    assert [(p.type, getattr(p, "text", None) or p.refusal) for p in parts] == stretches


def add_up(events: list[Any]) -> list[Any]:
    """Put the output together from the deltas, and hold every `done` against them."""
    items: list[Any] = []
    for event in events:
        match event["type"].removeprefix("response."):
            case "output_item.added":
                assert event["output_index"] == len(items)
                assert event["item"]["status"] == "in_progress"
                items.append(event["item"])
                continue
            case "output_item.done":
                assert event["item"] == items[event["output_index"]] | {"status": "completed"}
                items[event["output_index"]] = event["item"]
                continue
        item = items[event["output_index"]]
        assert item["id"] == event["item_id"]
        match event["type"].removeprefix("response."):
            case "content_part.added":
                assert event["content_index"] == len(item["content"])
                item["content"].append(event["part"])
            case "content_part.done":
                assert event["part"] == item["content"][event["content_index"]]
            case "output_text.delta":
                item["content"][event["content_index"]]["text"] += event["delta"]
            case "output_text.done":
                assert event["text"] == item["content"][event["content_index"]]["text"]
            case "refusal.delta":
                item["content"][event["content_index"]]["refusal"] += event["delta"]
            case "refusal.done":
                assert event["refusal"] == item["content"][event["content_index"]]["refusal"]
            case "function_call_arguments.delta":
                item["arguments"] += event["delta"]
            case "function_call_arguments.done":
                assert event["arguments"] == item["arguments"]
                assert event["name"] == item["name"]
            case kind:
                raise AssertionError(kind)
    return items


@given(chunk_streams())
def test_an_answer_given_back_is_the_one_on_record(chunks: list[Chunk]) -> None:
    """A client that repeats a response's output repeats the conversation that was recorded."""
    said = [chunk for chunk in chunks if not chunk.delta_extra]
    output, builder = Output("t1"), AnswerBuilder()
    for chunk in said:
        list(output.add(chunk))
        builder.add(chunk)
    given_back = messages(
        structure(decode(encode(output.items("completed"))), tuple[InputItem, ...])
    )
    recorded = [m for m in builder.messages() if m.content or m.tool_calls]
    assert conversation_digest(given_back) == conversation_digest(recorded)
