"""The Responses API as OpenAI's own client sees it."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from coe_core.error import UpstreamCut, UpstreamRejected
from coe_core.model import Chunk, ToolCallDelta, Usage

WEATHER = {
    "type": "function",
    "name": "weather",
    "description": "Tell the weather",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    "strict": False,
}
CALLS = (
    Chunk(content="Let me look."),
    Chunk(tool_calls=(ToolCallDelta(index=0, id="call_1", name="weather"),)),
    Chunk(tool_calls=(ToolCallDelta(index=1, id="call_2", name="weather", arguments='{"c'),)),
    Chunk(tool_calls=(ToolCallDelta(index=0, arguments='{"city": "서울"}'),)),
    Chunk(tool_calls=(ToolCallDelta(index=1, arguments='ity": "부산"}'),)),
    Chunk(finish_reason="tool_calls", usage=Usage(input_tokens=9, output_tokens=7)),
)


async def test_text_in_and_out(running: Any) -> None:
    response = await running.client().responses.create(
        model="speaker",
        input="Hello",
        instructions="Be kind.",
        metadata={"ticket": "7"},
        temperature=0.5,
        max_output_tokens=50,
    )
    assert (response.status, response.output_text) == ("completed", "Good day")
    assert response.model == "speaker"
    assert response.usage.input_tokens == 3
    assert response.usage.total_tokens == 5
    assert response.metadata == {"ticket": "7"}
    assert response.instructions == "Be kind."
    (asked,) = running.world.speaker.asked
    assert [(m.role, m.text) for m in asked.messages] == [
        ("system", "Be kind."),
        ("user", "Hello"),
    ]
    assert (asked.temperature, asked.max_completion_tokens) == (0.5, 50)
    assert asked.metadata is None
    assert all(not message.extra for message in asked.messages)


async def test_a_stream_of_text_ends_in_the_response_that_a_plain_call_gives(
    running: Any,
) -> None:
    client = running.client()
    async with client.responses.stream(model="speaker", input="Hello") as stream:
        events = [event async for event in stream]
        final = await stream.get_final_response()
    assert [event.type for event in events] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    plain = await client.responses.create(model="speaker", input="Hello")
    assert _without_ids(final) == _without_ids(plain)


async def test_a_stream_of_calls(running: Any) -> None:
    running.world.speaker.says = CALLS
    client = running.client()
    asked = {"model": "speaker", "input": "Weather?", "tools": [WEATHER]}
    async with client.responses.stream(**asked) as stream:
        events = [event async for event in stream]
        final = await stream.get_final_response()
    message, first, second = final.output
    assert message.content[0].text == "Let me look."
    assert (first.call_id, first.name, first.arguments) == ("call_1", "weather", '{"city": "서울"}')
    assert (second.call_id, second.arguments) == ("call_2", '{"city": "부산"}')
    done = [e for e in events if e.type == "response.function_call_arguments.done"]
    assert [e.arguments for e in done] == [first.arguments, second.arguments]
    deltas = [e for e in events if e.type == "response.function_call_arguments.delta"]
    for item in (first, second):
        assert "".join(e.delta for e in deltas if e.item_id == item.id) == item.arguments
    plain = await client.responses.create(**asked)
    assert _without_ids(final) == _without_ids(plain)
    (tool,) = running.world.speaker.asked[0].tools
    assert (tool.function.name, tool.function.extra) == ("weather", {"strict": False})


async def test_a_tools_answer_continues_the_response(running: Any) -> None:
    client = running.client()
    running.world.speaker.says = CALLS
    first = await client.responses.create(
        model="speaker", input="Weather?", instructions="Be brief.", tools=[WEATHER]
    )
    running.world.speaker.says = (Chunk(content="Sunny.", finish_reason="stop"),)
    outputs = [
        {"type": "function_call_output", "call_id": call.call_id, "output": "sun"}
        for call in first.output
        if call.type == "function_call"
    ]
    second = await client.responses.create(
        model="speaker", previous_response_id=first.id, input=outputs, tools=[WEATHER]
    )
    assert (second.output_text, second.previous_response_id) == ("Sunny.", first.id)
    sent = running.world.speaker.asked[1].messages
    # Instructions are for one response alone.
    assert [m.role for m in sent] == ["user", "assistant", "tool", "tool"]
    assert [c.id for c in sent[1].tool_calls] == ["call_1", "call_2"]
    assert [(m.tool_call_id, m.text) for m in sent[2:]] == [("call_1", "sun"), ("call_2", "sun")]


async def test_a_conversation_that_the_client_repeats_is_its_history(running: Any) -> None:
    client = running.client()
    first = await client.responses.create(model="speaker", input="Hello")
    again = [{"role": "user", "content": "Hello"}, *first.output, {"role": "user", "content": "?"}]
    await client.responses.create(model="speaker", input=again)
    sent = running.world.speaker.asked[1].messages
    assert [m.text for m in sent] == ["Hello", "Good day", "?"]


async def test_the_response_before_is_unknown_to_another_group(deploy: Any, world: Any) -> None:
    world.keys = True
    async with deploy() as running:
        first = await running.client("red").responses.create(model="speaker", input="Secret")
        for previous in (first.id, "resp_unknown", "nonsense"):
            with pytest.raises(openai.NotFoundError) as caught:
                await running.client("blue").responses.create(
                    model="speaker", input="?", previous_response_id=previous
                )
            assert caught.value.param == "previous_response_id"
        with pytest.raises(openai.NotFoundError):
            await running.client("blue").responses.retrieve(first.id)
        assert (await running.client("red").responses.retrieve(first.id)).id == first.id


async def test_a_response_is_read_again(running: Any) -> None:
    client = running.client()
    running.world.speaker.says = CALLS
    made = await client.responses.create(model="speaker", input="Weather?", tools=[WEATHER])
    read = await client.responses.retrieve(made.id)
    assert read.output == made.output
    assert (read.id, read.status, read.usage) == (made.id, made.status, made.usage)


async def test_structured_text(running: Any) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    wanted = {"type": "json_schema", "name": "answer", "schema": schema, "strict": True}
    await running.client().responses.create(
        model="speaker", input="?", text={"format": wanted, "verbosity": "low"}
    )
    (asked,) = running.world.speaker.asked
    assert asked.response_format == {
        "type": "json_schema",
        "json_schema": {"name": "answer", "schema": schema, "strict": True},
    }
    assert asked.extra == {"verbosity": "low"}


@pytest.mark.parametrize(
    ("finish_reason", "reason"),
    [("length", "max_output_tokens"), ("content_filter", "content_filter")],
)
async def test_an_answer_that_is_not_whole(running: Any, finish_reason: str, reason: str) -> None:
    running.world.speaker.says = (Chunk(content="Once"), Chunk(finish_reason=finish_reason))
    async with running.client().responses.stream(model="speaker", input="Tell") as stream:
        events = [event async for event in stream]
    last = events[-1]
    assert last.type == "response.incomplete"
    assert last.response.incomplete_details.reason == reason
    assert [item.status for item in last.response.output] == ["incomplete"]


async def test_a_refusal(running: Any) -> None:
    running.world.speaker.says = (
        Chunk(delta_extra={"refusal": "I will"}),
        Chunk(delta_extra={"refusal": " not."}),
        Chunk(finish_reason="stop"),
    )
    async with running.client().responses.stream(model="speaker", input="Bad") as stream:
        events = [event async for event in stream]
    (item,) = events[-1].response.output
    assert [(part.type, part.refusal) for part in item.content] == [("refusal", "I will not.")]
    assert [e.delta for e in events if e.type == "response.refusal.delta"] == ["I will", " not."]


async def test_a_stream_that_breaks_tells_why(running: Any) -> None:
    running.world.speaker.says = (Chunk(content="Once"), UpstreamCut("it broke"))
    stream = await running.client().responses.create(model="speaker", input="Tell", stream=True)
    events = [event async for event in stream]
    last = events[-1]
    assert last.type == "response.failed"
    assert (last.response.error.code, last.response.error.message) == ("upstream_cut", "it broke")
    assert last.response.output[0].content[0].text == "Once"
    read = await running.client().responses.retrieve(last.response.id)
    assert (read.status, read.error.code) == ("failed", "upstream_cut")


async def test_a_plain_call_that_fails_is_an_http_error(running: Any) -> None:
    running.world.speaker.says = (UpstreamRejected("no such option"),)
    with pytest.raises(openai.BadRequestError, match="no such option"):
        await running.client().responses.create(model="speaker", input="Tell")


@pytest.mark.parametrize(
    ("body", "param", "text"),
    [
        ({"tools": [{"type": "web_search"}]}, "tools[0]", "'web_search' would run on OpenAI"),
        ({"input": []}, "input", "input"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "input[0]", "'item_reference'"),
        ({"input": [{"role": "user", "content": [{"type": "image"}]}]}, "input[0].content[0]", ""),
        ({"input": [{"type": "reasoning"}]}, "input", "nothing in it but reasoning"),
        ({"background": True}, "background", "stream"),
        ({"conversation": "conv_1"}, "conversation", "previous_response_id"),
        ({"messages": []}, "messages", "chat completions"),
        ({"temperature": 3}, "temperature", "2"),
        ({"truncation": "auto"}, "truncation", "'disabled'"),
        ({"tool_choice": {"type": "mcp"}}, "tool_choice", "'mcp'"),
    ],
)
async def test_what_is_not_supported_is_refused(
    running: Any, body: dict[str, Any], param: str, text: str
) -> None:
    answer = await running.post("/responses", {"model": "speaker", "input": "?"} | body)
    error = answer.json()["error"]
    assert (answer.status_code, error["param"]) == (400, param)
    assert text in error["message"]
    assert running.world.speaker.asked == []


def _without_ids(response: Any) -> Any:
    plain = response.to_dict()
    del plain["id"], plain["created_at"]
    for item in plain["output"]:
        del item["id"]
        for part in item.get("content", ()):
            part.pop("parsed", None)
        item.pop("parsed_arguments", None)
    return plain
