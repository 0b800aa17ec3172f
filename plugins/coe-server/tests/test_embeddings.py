"""Embeddings and models, as OpenAI's own client and a careless one see them."""

import base64
from array import array
from typing import Any

import openai
import pytest


class TestEmbeddings:
    @pytest.mark.parametrize("given", ["one", ["one"], ["one", "두 번째"], [1, 2], [[1, 2], [3]]])
    async def test_gives_a_vector_for_each_input(self, api: Any, given: Any) -> None:
        async with api.client() as client:
            made = await client.embeddings.create(model="actor-embed", input=given)
        inputs = 1 if isinstance(given, str) or isinstance(given[0], int) else len(given)
        assert [item.index for item in made.data] == list(range(inputs))
        assert made.data[0].embedding == [0.5, 0.25]
        assert made.model == "actor-embed"
        assert made.usage.prompt_tokens == inputs

    async def test_both_encodings_are_the_same_numbers(self, api: Any) -> None:
        body = {"model": "actor-embed", "input": "x", "dimensions": 5}
        plain = (await api.post("embeddings", body)).json()["data"][0]["embedding"]
        encoded = await api.post("embeddings", body | {"encoding_format": "base64"})
        numbers = array("f")
        numbers.frombytes(base64.b64decode(encoded.json()["data"][0]["embedding"]))
        assert plain == numbers.tolist() == [0.5, *[0.25] * 4]

    async def test_what_is_not_known_here_reaches_the_model(self, api: Any) -> None:
        body = {"model": "actor-embed", "input": "x", "user": "u", "task": "search"}
        await api.post("embeddings", body)
        (asked,) = api.actor.asked
        assert (asked.user, asked.extra) == ("u", {"task": "search"})

    @pytest.mark.parametrize(
        ("change", "param"),
        [
            ({"input": None}, "input"),
            ({"input": []}, "input"),
            ({"input": ""}, "input"),
            ({"input": ["a", ""]}, "input"),
            ({"input": ["a", 1]}, "input"),
            ({"input": [[1], []]}, "input"),
            ({"input": [1.5]}, "input"),
            ({"input": [True]}, "input"),
            ({"input": {"a": 1}}, "input"),
            ({"encoding_format": "hex"}, "encoding_format"),
            ({"dimensions": 0}, "dimensions"),
            ({"dimensions": 65_537}, "dimensions"),
            ({"model": "actor"}, "model"),
            ({"model": "auto"}, "model"),
        ],
    )
    async def test_a_wrong_field_is_named(self, api: Any, change: Any, param: str) -> None:
        response = await api.post("embeddings", {"model": "actor-embed", "input": "x"} | change)
        assert response.status_code == 400
        assert response.json()["error"]["param"] == param

    async def test_a_model_that_makes_none_is_told_which_do(self, api: Any) -> None:
        response = await api.post("embeddings", {"model": "auto", "input": "x"})
        assert "these do: actor-embed" in response.json()["error"]["message"]


class TestModels:
    async def test_lists_auto_and_every_alias(self, api: Any) -> None:
        async with api.client() as client:
            listed = await client.models.list()
        assert [(m.id, m.owned_by) for m in listed.data] == [
            ("auto", "coe"),
            ("actor", "actor"),
            ("actor-embed", "actor"),
        ]

    async def test_lists_what_the_group_may_use(self, start_api: Any) -> None:
        settings = '[groups.default]\nmodels = ["actor-embed"]\n'
        async with start_api(settings=settings) as api, api.client() as client:
            listed = await client.models.list()
            with pytest.raises(openai.PermissionDeniedError):
                await client.models.retrieve("actor")
        assert [m.id for m in listed.data] == ["auto", "actor-embed"]

    async def test_describes_one(self, api: Any) -> None:
        async with api.client() as client:
            assert (await client.models.retrieve("actor")).owned_by == "actor"
            assert (await client.models.retrieve("auto")).id == "auto"
            with pytest.raises(openai.NotFoundError, match="did you mean 'actor'"):
                await client.models.retrieve("actr")
