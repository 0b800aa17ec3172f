"""Between OpenAI's terms and llama.cpp's."""

from __future__ import annotations

from typing import Any

import pytest
from coe_models_local import dialect
from coe_models_local.dialect import NativeDialect, PlainDialect, Sampling
from coe_models_local.frame import pack
from hypothesis import given

from coe_core.codec import structure
from coe_core.error import ContextTooLong, InvalidField, InvalidRequest
from coe_core.message import Message
from coe_core.request import ChatRequest, FunctionDefinition
from coe_core.testing.strategies import chat_requests

ADD = {
    "name": "add",
    "description": "Add two numbers",
    "parameters": {
        "type": "object",
        "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
        "required": ["a", "b"],
    },
}
NOW = {"name": "now"}
TOOLS = [{"type": "function", "function": ADD}, {"type": "function", "function": NOW}]


def request(**fields: Any) -> ChatRequest:
    body = {"model": "local", "messages": [{"role": "user", "content": "Hi"}], **fields}
    return structure(body, ChatRequest)


def plain(asked: ChatRequest, call: FunctionDefinition | None = None) -> dict[str, Any]:
    return PlainDialect(asked, Sampling(), call).body()


def native(asked: ChatRequest) -> dict[str, Any]:
    return NativeDialect(asked, Sampling()).body()


@given(chat_requests())
def test_every_request_is_written_or_refused(asked: ChatRequest) -> None:
    for tongue in (PlainDialect(asked, Sampling(), None), NativeDialect(asked, Sampling())):
        try:
            dialect.check(asked, 4096)
            body = tongue.body()
        except InvalidRequest as error:
            assert error.param  # noqa: PT017 -- either outcome is right
        else:
            pack({"body": body})


@given(chat_requests())
def test_a_plain_model_sees_roles_and_texts_only(asked: ChatRequest) -> None:
    for message in dialect._plain(asked.messages):
        assert message.keys() == {"role", "content"}
        assert message["role"] in ("system", "user", "assistant")
        assert isinstance(message["content"], str)


def test_the_clients_wishes_come_before_our_sampling() -> None:
    ours = Sampling(text={"temperature": 0.2, "top_p": 0.9, "repeat_penalty": 1.1})
    asked = request(temperature=1.0, repeat_penalty=1.0, stop="x", seed=-1, max_tokens=5)
    body = PlainDialect(asked, ours, None).body()
    assert body["temperature"] == body["repeat_penalty"] == 1.0
    assert (body["top_p"], body["stop"], body["max_tokens"]) == (0.9, ["x"], 5)
    assert 0 <= body["seed"] < 2**31


def test_fields_that_reach_llama_cpps_slots_are_not_passed_on() -> None:
    body = plain(request(id_slot=1, cache_prompt=True, grammar="x", n_predict=-1, top_k=3))
    assert body.keys() == {"top_k", "max_tokens", "messages"}


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "add"}}])
def test_a_call_is_written_under_the_grammar_of_its_arguments(choice: object) -> None:
    asked = request(tools=TOOLS, tool_choice=choice)
    (add, *_) = dialect.candidates(asked)
    body = plain(asked, add)
    assert '"required": ["a", "b"]' in body["grammar"]
    assert "tools" not in body
    assert "add" in body["messages"][0]["content"]


def test_the_instruction_joins_the_clients_own() -> None:
    system = {"role": "system", "content": "Be kind."}
    asked = request(messages=[system, {"role": "user", "content": "Hi"}], tools=TOOLS)
    body = plain(asked, FunctionDefinition(name="now"))
    assert [message["role"] for message in body["messages"]] == ["system", "user"]
    assert body["messages"][0]["content"].startswith("Be kind.")


@pytest.mark.parametrize("choice", ["some", {"type": "function", "function": {"name": "subtract"}}])
def test_a_choice_of_nothing_is_refused(choice: object) -> None:
    with pytest.raises(InvalidField, match="add, now"):
        dialect.candidates(request(tools=TOOLS, tool_choice=choice))


def test_a_model_that_knows_tools_is_told_of_all() -> None:
    assert len(native(request(tools=TOOLS))["tools"]) == 2


def test_no_tools_are_sent_when_none_may_be_called() -> None:
    assert "tools" not in native(request(tools=TOOLS, tool_choice="none"))


def test_what_tools_said_becomes_text() -> None:
    call = {"id": "1", "type": "function", "function": {"name": "add", "arguments": '{"a":1}'}}
    messages = [
        {"role": "developer", "content": "Add."},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "1", "content": "3"},
    ]
    assert list(dialect._plain(structure(messages, tuple[Message, ...]))) == [
        {"role": "system", "content": "Add."},
        {"role": "assistant", "content": 'add({"a":1})'},
        {"role": "user", "content": "The function add returned: 3"},
    ]


@pytest.mark.parametrize(
    "response_format", [{"type": "xml"}, {"type": "json_schema"}, {"type": "json_schema", "a": 1}]
)
def test_an_unknown_response_format_is_refused(response_format: object) -> None:
    with pytest.raises(InvalidField, match="response_format"):
        plain(request(response_format=response_format))


def test_megabytes_are_refused_uncounted() -> None:
    with pytest.raises(ContextTooLong, match="takes 4096 tokens"):
        dialect.check(request(messages=[{"role": "user", "content": " " * 1_000_000}]), 4096)


def test_several_answers_are_refused() -> None:
    with pytest.raises(InvalidField, match="one answer"):
        dialect.check(request(n=2), 4096)


def test_images_are_refused() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    with pytest.raises(InvalidField, match=r"messages\[0\].content: the local model reads text"):
        dialect.check(request(messages=[{"role": "user", "content": [image]}]), 4096)
