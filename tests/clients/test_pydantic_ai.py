"""pydantic-ai: an agent that uses a tool, and structured output."""

import pytest
from pydantic import BaseModel
from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider
from scene import BUNDLED, CALLING


class Person(BaseModel):
    name: str
    age: int


@pytest.fixture
def chat_model(base_url):
    def make(name):
        return OpenAIChatModel(name, provider=OpenAIProvider(base_url=base_url, api_key="none"))

    return make


async def test_chat(chat_model, model):
    agent = Agent(chat_model(model), model_settings={"max_tokens": 16})
    assert (await agent.run("Hello")).output


async def test_stream(chat_model, model):
    agent = Agent(chat_model(model), model_settings={"max_tokens": 16})
    async with agent.run_stream("Hello") as result:
        assert [text async for text in result.stream_text(delta=True)]


async def test_tool(chat_model):
    agent = Agent(chat_model(CALLING))

    @agent.tool_plain
    def weather(city: str) -> str:
        """Tell the weather of a city."""
        return f"sunny in {city}"

    assert (await agent.run("The weather?")).output == "The tool says sunny in 서울"


async def test_structured_output(chat_model):
    agent = Agent(
        chat_model(BUNDLED), output_type=Person, model_settings={"max_tokens": 200}, retries=0
    )
    assert isinstance((await agent.run("Invent a person.")).output, Person)
