"""`POST /v1/chat/completions`, as OpenAI's own client and a careless one see it."""

import json
import time
import unicodedata
from typing import Any

import openai
import pytest

from coe_core.error import UpstreamCut, UpstreamOverloaded
from coe_core.model import Chunk, ToolCallDelta, Usage

HELLO: Any = [{"role": "user", "content": "Hello"}]
BODY = {"model": "actor", "messages": HELLO}
WEATHER: Any = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object"}, "strict": True},
}
CALLS = (
    Chunk(tool_calls=(ToolCallDelta(index=0, id="call_1", name="weather"),)),
    Chunk(tool_calls=(ToolCallDelta(index=0, arguments='{"city": "서울"}'),)),
    Chunk(tool_calls=(ToolCallDelta(index=1, id="call_2", name="weather", arguments='{"c'),)),
    Chunk(tool_calls=(ToolCallDelta(index=1, arguments='ity": "부산"}'),)),
    Chunk(finish_reason="tool_calls", usage=Usage(input_tokens=9, output_tokens=7)),
)
USAGE = Usage(input_tokens=5, output_tokens=4, cached_input_tokens=2, reasoning_tokens=1)


class TestPlain:
    async def test_answers(self, api: Any) -> None:
        async with api.client() as client:
            answer = await client.chat.completions.create(model="auto", messages=HELLO)
        assert answer.choices[0].message.content == "Good day"
        assert answer.choices[0].message.role == "assistant"
        assert answer.choices[0].finish_reason == "stop"
        assert answer.model == "actor"
        assert answer.object == "chat.completion"
        assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (3, 2)

    async def test_names_the_turn_and_the_session(self, api: Any) -> None:
        async with api.client() as client:
            raw = await client.chat.completions.with_raw_response.create(
                model="actor", messages=HELLO
            )
        assert raw.parse().id == f"chatcmpl-{raw.headers['x-coe-turn']}"
        assert raw.headers["x-coe-session"]
        assert raw.headers["x-request-id"].startswith("req_")

    async def test_counts_what_was_cached_and_what_was_thought(self, start_api: Any) -> None:
        last = Chunk(content="x", finish_reason="stop", usage=USAGE)
        async with start_api(last) as api, api.client() as client:
            answer = await client.chat.completions.create(model="actor", messages=HELLO)
        assert answer.usage.prompt_tokens_details.cached_tokens == 2
        assert answer.usage.completion_tokens_details.reasoning_tokens == 1

    async def test_several_choices(self, start_api: Any) -> None:
        lines = [
            Chunk(content=text, index=index, finish_reason="stop")
            for index, text in enumerate(["one", "two", "three"])
        ]
        async with start_api(*lines) as api, api.client() as client:
            answer = await client.chat.completions.create(model="actor", messages=HELLO, n=3)
        assert [choice.message.content for choice in answer.choices] == ["one", "two", "three"]
        assert [choice.index for choice in answer.choices] == [0, 1, 2]

    async def test_tool_calls(self, start_api: Any) -> None:
        async with start_api(*CALLS) as api, api.client() as client:
            answer = await client.chat.completions.create(
                model="actor", messages=HELLO, tools=[WEATHER], tool_choice="required"
            )
        message = answer.choices[0].message
        assert message.content is None
        assert [(c.id, c.type, c.function.name) for c in message.tool_calls] == [
            ("call_1", "function", "weather"),
            ("call_2", "function", "weather"),
        ]
        assert [json.loads(c.function.arguments)["city"] for c in message.tool_calls] == [
            "서울",
            "부산",
        ]
        assert answer.choices[0].finish_reason == "tool_calls"

    async def test_fields_of_the_upstream_that_are_not_known_here(self, start_api: Any) -> None:
        chunk = Chunk(
            content="x",
            finish_reason="stop",
            delta_extra={"reasoning_content": "because"},
            choice_extra={"logprobs": {"content": []}},
            extra={"system_fingerprint": "fp"},
        )
        async with start_api(chunk) as api:
            plain = (await api.post("chat/completions", BODY)).json()
            frames = events_of(await api.post("chat/completions", BODY | {"stream": True}))
        for frame, inner in ((plain, "message"), (frames[0], "delta")):
            assert frame["system_fingerprint"] == "fp"
            assert frame["choices"][0]["logprobs"] == {"content": []}
            assert frame["choices"][0][inner]["reasoning_content"] == "because"

    async def test_what_the_client_sends_reaches_the_model(self, api: Any) -> None:
        image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
        async with api.client() as client:
            await client.chat.completions.create(
                model="actor",
                messages=[{"role": "user", "content": [{"type": "text", "text": "?"}, image]}],
                tools=[WEATHER],
                parallel_tool_calls=False,
                response_format={"type": "json_schema", "json_schema": {"name": "s"}},
                stop=["END"],
                seed=7,
                temperature=0.5,
                extra_body={"vendor_field": {"a": 1}},
            )
        (asked,) = api.actor.asked
        assert asked.messages[0].content[1].extra == {"image_url": image["image_url"]}
        assert asked.tools[0].function.extra == {"strict": True}
        assert asked.parallel_tool_calls is False
        assert asked.response_format["type"] == "json_schema"
        assert (asked.stop, asked.seed, asked.temperature) == (("END",), 7, 0.5)
        assert asked.extra == {"vendor_field": {"a": 1}}


class TestStream:
    async def test_ends_whole(self, api: Any) -> None:
        async with api.client() as client:
            stream = await client.chat.completions.create(model="auto", messages=HELLO, stream=True)
            chunks = [chunk async for chunk in stream]
        assert [c.choices[0].delta.content for c in chunks] == ["Good", " day", None]
        assert [c.choices[0].delta.role for c in chunks] == ["assistant", None, None]
        assert [c.choices[0].finish_reason for c in chunks] == [None, None, "stop"]
        assert {c.id for c in chunks} == {chunks[0].id}
        assert {c.model for c in chunks} == {"actor"}
        assert all(c.usage is None for c in chunks)

    async def test_usage_comes_last_if_it_is_asked_for(self, api: Any) -> None:
        async with api.client() as client:
            stream = await client.chat.completions.create(
                model="actor", messages=HELLO, stream=True, stream_options={"include_usage": True}
            )
            chunks = [chunk async for chunk in stream]
        assert chunks[-1].choices == []
        assert chunks[-1].usage.total_tokens == 5
        assert all(c.usage is None for c in chunks[:-1])

    @pytest.mark.parametrize("asked", [True, False])
    async def test_usage_is_null_until_then(self, api: Any, *, asked: bool) -> None:
        options = {"stream_options": {"include_usage": asked}}
        frames = events_of(await api.post("chat/completions", BODY | {"stream": True} | options))
        assert all(("usage" in frame) is asked for frame in frames)

    async def test_tool_calls_in_pieces(self, start_api: Any) -> None:
        async with (
            start_api(*CALLS) as api,
            api.client() as client,
            client.chat.completions.stream(
                model="actor", messages=HELLO, tools=[WEATHER]
            ) as stream,
        ):
            answer = await stream.get_final_completion()
        calls = answer.choices[0].message.tool_calls
        assert [(c.id, json.loads(c.function.arguments)["city"]) for c in calls] == [
            ("call_1", "서울"),
            ("call_2", "부산"),
        ]

    async def test_several_choices_side_by_side(self, start_api: Any) -> None:
        lines = (
            Chunk(content="a", index=0),
            Chunk(content="b", index=1),
            Chunk(index=1, finish_reason="length"),
            Chunk(index=0, finish_reason="stop"),
        )
        async with start_api(*lines) as api:
            frames = events_of(await api.post("chat/completions", BODY | {"stream": True, "n": 2}))
        choices = [frame["choices"][0] for frame in frames]
        assert [c["index"] for c in choices] == [0, 1, 0, 1]
        assert [c["delta"].get("role") for c in choices] == ["assistant", "assistant", None, None]
        assert [c["finish_reason"] for c in choices] == [None, None, "stop", "length"]

    async def test_an_answer_without_a_word_is_an_answer(self, start_api: Any) -> None:
        async with start_api(Chunk(finish_reason="stop")) as api:
            (frame,) = events_of(await api.post("chat/completions", BODY | {"stream": True}))
        assert frame["choices"][0]["delta"] == {"role": "assistant", "content": ""}
        assert frame["choices"][0]["finish_reason"] == "stop"

    async def test_a_failure_before_the_first_piece_is_an_http_error(self, start_api: Any) -> None:
        busy = UpstreamOverloaded("busy", retry_after_s=3)
        async with start_api(busy) as api, api.client() as client:
            with pytest.raises(openai.APIStatusError) as raised:
                await client.chat.completions.create(model="actor", messages=HELLO, stream=True)
        assert raised.value.status_code == 503
        assert raised.value.code == "upstream_overloaded"
        assert raised.value.response.headers["retry-after"] == "3"
        assert raised.value.response.headers["x-coe-turn"]

    async def test_a_failure_after_it_ends_the_stream_with_an_error(self, start_api: Any) -> None:
        async with start_api(Chunk(content="Good"), UpstreamCut("it was cut")) as api:
            async with api.client() as client:
                stream = await client.chat.completions.create(
                    model="actor", messages=HELLO, stream=True
                )
                assert (await anext(stream)).choices[0].delta.content == "Good"
                with pytest.raises(openai.APIError, match="it was cut") as raised:
                    await anext(stream)
            raw = await api.post("chat/completions", BODY | {"stream": True})
        assert raised.value.code == "upstream_cut"
        assert "[DONE]" not in raw.text
        assert '"finish_reason":"' not in raw.text

    async def test_of_a_plain_call_is_an_http_error(self, start_api: Any) -> None:
        async with start_api(Chunk(content="Good"), UpstreamCut("it was cut")) as api:
            response = await api.post("chat/completions", BODY)
        assert response.status_code == 502
        assert response.json()["error"]["code"] == "upstream_cut"
        assert response.headers["x-coe-turn"]


def events_of(response: Any) -> list[Any]:
    """Check how a stream ends, and return its frames."""
    assert response.status_code == 200
    *frames, done, rest = response.text.split("\n\n")
    assert (done, rest) == ("data: [DONE]", "")
    return [json.loads(frame.removeprefix("data: ")) for frame in frames]


class TestSession:
    @pytest.mark.parametrize(
        ("headers", "metadata", "session"),
        [
            ({"x_coe_session": "s-1"}, None, "s-1"),
            ({}, {"session_id": "s-2"}, "s-2"),
            ({"x_coe_session": "s-1"}, {"session_id": "s-2"}, "s-1"),
            ({}, {"session_id": "한국 1"}, "%ED%95%9C%EA%B5%AD%201"),
            ({"x_coe_session": "%ed%95%9c"}, None, "%ED%95%9C"),
            ({"x_coe_session": "50%"}, None, "50%25"),
        ],
    )
    async def test_is_the_one_that_is_named(
        self, api: Any, headers: dict[str, str], metadata: Any, session: str
    ) -> None:
        body = BODY | ({"metadata": metadata} if metadata else {})
        response = await api.post("chat/completions", body, **headers)
        assert response.headers["x-coe-session"] == session

    async def test_goes_on_where_it_was(self, api: Any) -> None:
        for text in ("one", "two"):
            body = {"model": "actor", "messages": [{"role": "user", "content": text}]}
            await api.post("chat/completions", body, x_coe_session="s")
        assert [m.text for m in api.actor.asked[1].messages] == ["one", "Good day", "two"]

    async def test_has_one_name_however_it_is_written(self, api: Any) -> None:
        for name in ("대화", unicodedata.normalize("NFD", "대화")):
            body = BODY | {"metadata": {"session_id": name}}
            response = await api.post("chat/completions", body)
        await api.post("chat/completions", BODY, x_coe_session=response.headers["x-coe-session"])
        assert [m.role for m in api.actor.asked[2].messages] == [
            *("user", "assistant") * 2,
            "user",
        ]

    @pytest.mark.parametrize(
        "name", ["", " ", " a", "x" * 257, "a\nb", "\u202e", "\ufffe", 7, ["a"], {}]
    )
    async def test_has_a_name_that_can_be_printed(self, api: Any, name: Any) -> None:
        response = await api.post("chat/completions", BODY | {"metadata": {"session_id": name}})
        assert response.status_code == 400
        assert response.json()["error"]["param"] == "metadata.session_id"

    @pytest.mark.parametrize("header", [b"%ff", b"%00", b"\xed\x95\x9c", b"%20", b""])
    async def test_has_a_header_in_percent_encoding(self, api: Any, header: bytes) -> None:
        body = json.dumps(BODY).encode()
        head, told = await api.server.raw(
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n"
            b"x-coe-session: %b\r\ncontent-length: %d\r\n\r\n%b" % (header, len(body), body)
        )
        assert head.startswith(b"HTTP/1.1 400 ")
        assert json.loads(told)["error"]["param"] == "header x-coe-session"


class TestParameters:
    async def test_reach_the_turn_and_not_the_model(self, api: Any) -> None:
        body = BODY | {"coe": {"params": {"mood": "merry"}}}
        response = await api.post("chat/completions", body)
        assert response.status_code == 200
        (asked,) = api.actor.asked
        assert "coe" not in asked.extra

    @pytest.mark.parametrize(
        ("coe", "param"),
        [
            ({"params": {"moood": "merry"}}, "coe.params.moood"),
            ({"params": {"mood": 7}}, "coe.params.mood"),
            ({"parms": {}}, "coe.parms"),
            ({"params": []}, "coe.params"),
            ([], "coe"),
        ],
    )
    async def test_that_are_none_are_refused(self, api: Any, coe: Any, param: str) -> None:
        response = await api.post("chat/completions", BODY | {"coe": coe})
        assert response.status_code == 400
        assert response.json()["error"]["param"] == param


class TestLimits:
    async def test_are_told_and_kept(self, start_api: Any) -> None:
        async with start_api(settings="[groups.default]\nrpm = 2\ntpm = 1000\n") as api:
            responses = [await api.post("chat/completions", BODY) for _ in range(3)]
        assert [r.status_code for r in responses] == [200, 200, 429]
        first, second, refused = (r.headers for r in responses)
        assert first["x-ratelimit-limit-requests"] == "2"
        assert first["x-ratelimit-remaining-requests"] == "1"
        assert second["x-ratelimit-remaining-requests"] == "0"
        assert second["x-ratelimit-reset-requests"].endswith("s")
        assert first["x-ratelimit-limit-tokens"] == "1000"
        assert int(refused["retry-after"]) > 0
        assert refused["x-ratelimit-limit-requests"] == "2"
        assert refused["x-ratelimit-remaining-requests"] == "0"
        assert 0 < float(refused["x-ratelimit-reset-requests"].removesuffix("s")) <= 67
        assert int(refused["x-ratelimit-remaining-tokens"]) == 1000 - 2 * 5

    async def test_are_told_by_every_route_that_refuses(self, start_api: Any) -> None:
        async with start_api(settings="[groups.default]\nrpm = 1\n") as api:
            assert (await api.post("responses", {"model": "actor", "input": "?"})).is_success
            refused = [
                await api.post("chat/completions", BODY | {"stream": True}),
                await api.post("responses", {"model": "actor", "input": "?"}),
                await api.post("embeddings", {"model": "actor-embed", "input": "?"}),
            ]
        for response in refused:
            assert response.status_code == 429
            assert response.headers["x-ratelimit-remaining-requests"] == "0"
            assert int(response.headers["retry-after"]) > 0

    @pytest.mark.parametrize("stream", [True, False])
    @pytest.mark.parametrize("path", ["chat/completions", "responses"])
    async def test_a_used_up_budget_names_the_turn_and_what_is_left(
        self, start_api: Any, path: str, *, stream: bool
    ) -> None:
        settings = "[groups.default]\nrpm = 9\nbudget_usd_month = 0\n"
        dear = "[models.dear]\nprovider = 'actor'\nprice = { input = 1 }\n"
        body = BODY | {"model": "dear", "input": "?", "stream": stream}
        del body["input" if path == "chat/completions" else "messages"]
        async with start_api(settings=settings + dear) as api:
            response = await api.post(path, body)
        if path == "responses" and stream:
            assert '"insufficient_quota"' in response.text
        else:
            assert response.json()["error"]["code"] == "insufficient_quota"
            assert 0 < int(response.headers["retry-after"]) <= 31 * 24 * 3600
        assert response.headers["x-ratelimit-remaining-requests"] == "8"
        assert response.headers["x-coe-turn"]

    async def test_are_not_mentioned_where_there_are_none(self, api: Any) -> None:
        response = await api.post("chat/completions", BODY)
        assert not [name for name in response.headers if name.startswith("x-ratelimit")]


NESTED = b'{"model": "actor", "messages": ' + b"[" * 10_000 + b"]" * 10_000 + b"}"
NESTED_LESS = b'{"model":"actor","messages":[],"x":' + b"[" * 128 + b"]" * 128 + b"}"
MANY = b'{"model":"actor","messages":[],"x":[' + b"[]," * 20_000 + b"[]]}"
MANY_NUMBERS = b'{"model":"actor","messages":[],"x":[' + b"1," * 500_025 + b"1]}"
LATIN = '{"model": "actor", "messages": [{"role": "user", "content": "é"}]}'.encode("latin-1")


class TestBadInput:
    @pytest.mark.parametrize(
        ("body", "status", "code"),
        [
            (b"", 400, "malformed_body"),
            (b"{", 400, "malformed_body"),
            (b"{'model': 1}", 400, "malformed_body"),
            (LATIN, 400, "malformed_body"),
            (b'"\\ud800"', 400, "malformed_body"),
            (NESTED, 400, "malformed_body"),
            (NESTED_LESS, 400, "malformed_body"),
            (MANY, 413, "body_too_large"),
            (MANY_NUMBERS, 413, "body_too_large"),
            (b"[]", 400, "invalid_field"),
            (b"null", 400, "invalid_field"),
            ({"messages": HELLO}, 400, "invalid_field"),
            ({"model": "actor"}, 400, "invalid_field"),
            ({"model": "", "messages": HELLO}, 400, "invalid_field"),
            ({"model": 7, "messages": HELLO}, 400, "invalid_field"),
            ({"model": "actor", "messages": []}, 400, "invalid_field"),
            ({"model": "actor", "messages": "Hello"}, 400, "invalid_field"),
            ({"model": "actor", "messages": [{"content": "x"}]}, 400, "invalid_field"),
            ({"model": "actor", "messages": [{"role": "x"}]}, 400, "invalid_field"),
            (BODY | {"stream": "yes"}, 400, "invalid_field"),
            (BODY | {"n": 0}, 400, "invalid_field"),
            (BODY | {"temperature": 3}, 400, "invalid_field"),
            (BODY | {"tools": [{"function": {"name": ""}}]}, 400, "invalid_field"),
            (BODY | {"model": "actr"}, 404, "model_not_found"),
            (BODY | {"model": "actor-embed"}, 400, "invalid_field"),
        ],
    )
    async def test_gets_one_clear_error(self, api: Any, body: Any, status: int, code: str) -> None:
        response = await api.post("chat/completions", body)
        error = response.json()["error"]
        assert response.status_code == status
        assert error["code"] == code
        assert error["message"]
        assert (await api.post("chat/completions", BODY)).status_code == 200

    async def test_may_be_nested_as_deep_as_any_real_one(self, api: Any) -> None:
        schema: dict[str, Any] = {"type": "string"}
        for _ in range(60):
            schema = {"type": "object", "properties": {"a": schema}}
        tool = {"type": "function", "function": {"name": "f", "parameters": schema}}
        response = await api.post("chat/completions", BODY | {"tools": [tool]})
        assert response.status_code == 200

    async def test_brackets_in_a_text_are_text(self, api: Any) -> None:
        for text in "[" * 200_000, '\\"{' * 200_000:
            response = await api.post("chat/completions", BODY | {"user": text})
            assert response.status_code == 200

    async def test_of_a_megabyte_is_no_work(self, api: Any) -> None:
        """So many faults are not explained, and a name is neither compared nor given back."""
        faults = BODY | {"messages": [{"role": "x"}, *[7] * 400_000]}
        name = BODY | {"model": "actor" * 1_000_000}
        for body in faults, name:
            began_s = time.process_time()
            response = await api.post("chat/completions", body)
            assert response.status_code in (400, 404)
            assert len(response.content) < 1000
            assert time.process_time() - began_s < 5

    async def test_names_the_field(self, api: Any) -> None:
        response = await api.post(
            "chat/completions", {"model": "actor", "messages": [{"role": "x"}]}
        )
        error = response.json()["error"]
        assert error["param"] == "messages[0].role"
        assert "'user'" in error["message"]

    async def test_names_the_nearest_model(self, api: Any) -> None:
        response = await api.post("chat/completions", BODY | {"model": "actr"})
        assert "did you mean 'actor'?" in response.json()["error"]["message"]
