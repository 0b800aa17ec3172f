"""The bundled chat model, for real."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from coe_models_local.check import FilesCheck
from coe_models_local.provider import LocalProvider

from coe_core.error import ContextTooLong, InvalidField, MissingModel, ModelNotConfigured

FRUIT = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 20},
        "colour": {"enum": ["red", "green", "노랑"]},
        "seeds": {"type": "integer", "minimum": 1, "maximum": 9},
    },
    "required": ["name", "colour", "seeds"],
    "additionalProperties": False,
}


def function(name: str, description: str, **properties: Any) -> dict[str, Any]:
    parameters = {"type": "object", "properties": properties, "required": list(properties)}
    declared = {"name": name, "description": description, "parameters": parameters}
    return {"type": "function", "function": declared}


NUMBER = {"type": "integer"}
WEATHER = function(
    "get_weather",
    "Tell the weather of a city",
    city={"type": "string", "maxLength": 30},
    unit={"enum": ["C", "F"]},
)
ADD = function("add", "Add two numbers", a=NUMBER, b=NUMBER)


async def test_it_answers(ask: Any) -> None:
    answer = await ask("Hello!", max_tokens=20)
    assert answer.text
    assert answer.finish_reason in ("stop", "length")
    assert answer.usage.input_tokens > 10
    assert 0 < answer.usage.output_tokens <= 20
    assert not answer.usage.estimated


async def test_it_streams(ask: Any) -> None:
    answer = await ask("Tell me a story.", max_tokens=8, temperature=0)
    assert sum(bool(chunk.content) for chunk in answer.chunks) > 1
    assert answer.finish_reason == "length"


async def test_the_same_seed_gives_the_same_answer(ask: Any) -> None:
    first, second = [
        await ask("Tell me a joke.", seed=7, temperature=1.0, max_tokens=12) for _ in range(2)
    ]
    assert first.text == second.text


async def test_it_stops_at_a_stop(ask: Any) -> None:
    whole = await ask("Tell me a story.", seed=1, max_tokens=12)
    word = whole.text.split()[2]
    cut = await ask("Tell me a story.", seed=1, max_tokens=12, stop=[word])
    assert cut.finish_reason == "stop"
    assert whole.text.startswith(cut.text)
    assert word not in cut.text


async def test_log_probabilities_are_kept(ask: Any) -> None:
    answer = await ask("Hello!", max_tokens=2, logprobs=True, top_logprobs=2)
    extras = [chunk.choice_extra for chunk in answer.chunks if chunk.choice_extra]
    assert all(len(extra["logprobs"]["content"][0]["top_logprobs"]) == 2 for extra in extras)
    assert extras


@pytest.mark.parametrize("seed", range(5))
async def test_json_is_valid_under_its_schema(ask: Any, seed: int) -> None:
    response_format = {
        "type": "json_schema",
        "json_schema": {"name": "fruit", "strict": True, "schema": FRUIT},
    }
    answer = await ask(
        "Describe a fruit.", response_format=response_format, seed=seed, temperature=1.5
    )
    assert answer.finish_reason == "stop"
    jsonschema_rs.validate(FRUIT, json.loads(answer.text))


async def test_any_json_object_can_be_asked_for(ask: Any) -> None:
    answer = await ask(
        "Name a fruit, as JSON.", response_format={"type": "json_object"}, temperature=0
    )
    assert answer.text.startswith("{")
    if answer.finish_reason == "stop":
        assert isinstance(json.loads(answer.text), dict)


async def test_a_schema_that_cannot_be_held_to_is_refused(ask: Any) -> None:
    schema = {"type": "json_schema", "json_schema": {"schema": {"type": "fruit"}}}
    with pytest.raises(InvalidField, match="fruit"):
        await ask("Hello!", response_format=schema)


@pytest.mark.parametrize(
    "choice", ["required", {"type": "function", "function": {"name": "get_weather"}}]
)
async def test_a_call_that_is_insisted_on_is_made(ask: Any, choice: object) -> None:
    answer = await ask("How is the weather in Paris?", tools=[WEATHER], tool_choice=choice)
    name, arguments = answer.call
    assert name == "get_weather"
    jsonschema_rs.validate(WEATHER["function"]["parameters"], json.loads(arguments))
    assert (answer.text, answer.finish_reason) == ("", "tool_calls")


@pytest.mark.parametrize("tools", [[ADD, WEATHER], [WEATHER, ADD]])
@pytest.mark.parametrize(
    ("text", "chosen"),
    [
        ("What is the sum of 17 and 25?", "add"),
        ("17 더하기 25는 얼마야?", "add"),
        ("Is it raining in Busan?", "get_weather"),
        ("오늘 부산 날씨 어때?", "get_weather"),
    ],
)
async def test_of_several_the_nearest_is_called(
    ask: Any, tools: list[dict[str, Any]], text: str, chosen: str
) -> None:
    answer = await ask(text, tools=tools, tool_choice="required")
    assert answer.call[0] == chosen


async def test_left_to_itself_it_answers_in_text(ask: Any) -> None:
    answer = await ask("Hello!", tools=[WEATHER, ADD], max_tokens=5)
    assert answer.text


def added(a: int, b: int) -> list[dict[str, Any]]:
    arguments = json.dumps({"a": a, "b": b})
    call = {"id": f"{a}", "type": "function", "function": {"name": "add", "arguments": arguments}}
    return [
        {"role": "user", "content": f"Add {a} and {b}"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": f"{a}", "content": f"{a + b}"},
    ]


async def test_a_model_that_knows_tools_calls_them_by_itself(ask: Any, tool_gguf: Path) -> None:
    messages = [*added(1, 2), *added(5, 9), *added(4, 4), *added(17, 25)[:1]]
    answer = await ask("", path=tool_gguf, messages=messages, tools=[ADD], temperature=0)
    name, arguments = answer.call
    assert (name, json.loads(arguments)) == ("add", {"a": 17, "b": 25})
    assert answer.finish_reason == "tool_calls"


async def test_a_model_that_knows_tools_makes_a_call_that_is_insisted_on(
    ask: Any, tool_gguf: Path
) -> None:
    answer = await ask("How are you?", path=tool_gguf, tools=[ADD], tool_choice="required")
    assert answer.call[0] == "add"


async def test_a_prompt_that_is_too_long_is_refused(ask: Any) -> None:
    with pytest.raises(ContextTooLong, match="2048"):
        await ask("word " * 5000)
    assert (await ask("Hello!", max_tokens=2)).text


async def test_the_answer_ends_with_the_context(make: Any, stream: Any) -> None:
    provider = make(slots=1, context_tokens=256)
    no_end = {"2": -100}
    story = stream(provider, "word " * 200, max_tokens=1000, logit_bias=no_end)
    reasons = [chunk.finish_reason async for chunk in story if chunk.finish_reason]
    assert reasons == ["length"]


async def test_a_cancelled_answer_makes_room_at_once(make: Any, stream: Any) -> None:
    provider = make(slots=1, context_tokens=4096)
    long = stream(provider, "Tell me a story.", max_tokens=3000)
    assert await anext(long)
    await long.aclose()
    # While a long prompt is read nothing is written, and yet it can be cancelled.
    reading = asyncio.ensure_future(anext(stream(provider, "word " * 3500)))
    await asyncio.wait([reading], timeout=0.3)
    assert reading.cancel()
    await asyncio.wait([reading])
    async with asyncio.timeout(5):  # of 30 s for the prompt, and more for the story
        short = stream(provider, "Hi", max_tokens=1)
        assert [chunk async for chunk in short]


async def test_a_flood_does_not_keep_others_waiting(make: Any, stream: Any) -> None:
    provider = make(slots=1, context_tokens=512)
    ended = []

    async def answer(group: str) -> None:
        async for _ in stream(provider, "Tell me a story.", group=group, max_tokens=10):
            pass
        ended.append(group)

    async with asyncio.TaskGroup() as tasks:
        for group in ["greedy"] * 8 + ["modest"]:
            tasks.create_task(answer(group))
    assert ended.index("modest") <= 2


@pytest.mark.parametrize("content", [b"", b"GGUF", b"PK\x03\x04 a zip file, not a model"])
async def test_a_file_that_is_no_gguf_gives_one_clear_error(
    provider: LocalProvider, stream: Any, tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(content)
    with pytest.raises(MissingModel, match="is no GGUF file"):
        await anext(stream(provider, "Hi", path=path))


async def test_a_folder_of_the_machines_is_none_of_the_clients_business(
    provider: LocalProvider, stream: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/nowhere")
    with pytest.raises(ModelNotConfigured) as refused:
        await anext(stream(provider, "Hi"))
    assert "nowhere" not in refused.value.message
    finding = await FilesCheck().check()
    assert not finding.ok
    assert "/nowhere/coe cannot be made" in finding.mend


async def test_a_missing_file_gives_one_clear_error(
    provider: LocalProvider, stream: Any, tmp_path: Path
) -> None:
    with pytest.raises(MissingModel, match="Correct model_path"):
        await anext(stream(provider, "Hi", path=tmp_path / "nothing.gguf"))


async def test_a_cut_gguf_gives_one_clear_error(
    provider: LocalProvider, stream: Any, gguf: Path, tmp_path: Path
) -> None:
    path = tmp_path / "model.gguf"
    with gguf.open("rb") as whole:
        path.write_bytes(whole.read(100_000))
    with pytest.raises(MissingModel, match="cannot load"):
        await anext(stream(provider, "Hi", path=path))
    bundled = stream(provider, "Hi", max_tokens=1)
    assert [chunk async for chunk in bundled]


async def test_any_gguf_file_can_be_used(
    provider: LocalProvider, stream: Any, gguf: Path, tmp_path: Path
) -> None:
    path = tmp_path / "my model.gguf"
    path.symlink_to(gguf)
    answer = stream(provider, "Hi", path=path, max_tokens=2)
    assert [chunk async for chunk in answer]
