"""OpenAI's own client for Python."""

import json

import openai
import pytest
from scene import BUNDLED, CALLING, QUESTION, WEATHER


@pytest.fixture
def client(base_url):
    with openai.OpenAI(base_url=base_url) as made:
        yield made


def test_chat(client, model):
    answer = client.chat.completions.create(model=model, messages=QUESTION, max_tokens=16)
    assert answer.choices[0].message.content
    assert answer.usage.total_tokens > 0


def test_stream(client, model):
    stream = client.chat.completions.create(
        model=model,
        messages=QUESTION,
        max_tokens=16,
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert chunks[-1].usage.completion_tokens > 0
    assert sum(bool(c.choices and c.choices[0].finish_reason) for c in chunks) == 1


def test_tool(client, model):
    answer = client.chat.completions.create(
        model=model, messages=QUESTION, tools=[WEATHER], tool_choice="required", max_tokens=64
    )
    said = answer.choices[0].message
    [call] = said.tool_calls
    assert call.function.name == "weather"
    assert isinstance(json.loads(call.function.arguments)["city"], str)
    result = {"role": "tool", "tool_call_id": call.id, "content": "sunny"}
    after = client.chat.completions.create(
        model=model, messages=[*QUESTION, said, result], max_tokens=16
    )
    assert after.choices[0].message.content


def test_streamed_tool(client, model):
    with client.chat.completions.stream(
        model=model, messages=QUESTION, tools=[WEATHER], tool_choice="required", max_tokens=64
    ) as stream:
        stream.until_done()
        [call] = stream.get_final_completion().choices[0].message.tool_calls
    assert "city" in json.loads(call.function.arguments)


def test_structured_output(client):
    schema = {
        "type": "object",
        "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
        "required": ["name", "age"],
        "additionalProperties": False,
    }
    answer = client.chat.completions.create(
        model=BUNDLED,
        messages=[{"role": "user", "content": "Invent a person."}],
        response_format={
            "type": "json_schema",
            "json_schema": {"name": "person", "schema": schema, "strict": True},
        },
        max_tokens=200,
    )
    person = json.loads(answer.choices[0].message.content)
    assert isinstance(person["age"], int)


def test_responses(client, model):
    first = client.responses.create(model=model, input="Hello", max_output_tokens=16)
    assert first.output_text
    second = client.responses.create(
        model=model, input="And now?", previous_response_id=first.id, max_output_tokens=16
    )
    assert second.output_text


def test_streamed_response(client, model):
    with client.responses.stream(model=model, input="Hello", max_output_tokens=16) as stream:
        events = list(stream)
    assert events[0].type == "response.created"
    assert events[-1].type in ("response.completed", "response.incomplete")
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert "".join(deltas) == events[-1].response.output_text != ""


@pytest.mark.parametrize("encoding", ["float", "base64"])
def test_embeddings(client, encoding):
    answer = client.embeddings.create(
        model="embed-fast", input=["안녕", "hello"], encoding_format=encoding
    )
    assert len(answer.data) == 2


def test_models(client):
    assert {"auto", BUNDLED, CALLING} <= {model.id for model in client.models.list()}


def test_errors_are_the_clients_own(client):
    with pytest.raises(openai.NotFoundError, match="callin"):
        client.chat.completions.create(model="callin", messages=QUESTION)
    with pytest.raises(openai.BadRequestError, match="messages"):
        client.chat.completions.create(model=CALLING, messages=[])


async def test_async(base_url, model):
    async with openai.AsyncOpenAI(base_url=base_url) as client:
        answer = await client.chat.completions.create(model=model, messages=QUESTION, max_tokens=16)
    assert answer.choices[0].message.content
