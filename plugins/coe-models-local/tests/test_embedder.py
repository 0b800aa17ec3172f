"""The bundled embedders, for real."""

from __future__ import annotations

import array
import math
from collections.abc import Sequence
from typing import Any

import attrs
import pytest
from coe_models_local.provider import LocalProvider

from coe_core.error import ContextTooLong, InvalidField, UnknownModel
from coe_core.model import Model, Vectors
from coe_core.request import EmbeddingRequest

EMBEDDERS = {"embed-fast": 512, "embed-quality": 384}

QUESTIONS = ["환불은 어떻게 받나요?", "How do I reset my password?"]
ANSWERS = [
    "결제를 취소하면 사흘 안에 돈을 돌려드립니다.",
    "Click 'forgot password' and choose a new one.",
    "서울의 내일 날씨는 맑겠습니다.",
    "The museum opens at nine.",
]


@pytest.fixture(params=EMBEDDERS)
def alias(request: pytest.FixtureRequest) -> str:
    """Each embedder in turn."""
    name: str = request.param
    return name


def model(provider: LocalProvider, alias: str) -> Model:
    return next(model for model in provider.models() if model.alias == alias)


async def embed(
    provider: LocalProvider, alias: str, texts: Sequence[str], **fields: Any
) -> Vectors:
    asked = EmbeddingRequest(model=alias, input=tuple(texts), **fields)
    return await provider.embed(model(provider, alias), asked, group="default")


def cosine(some: Sequence[float], others: Sequence[float]) -> float:
    return sum(a * b for a, b in zip(some, others, strict=True))


async def test_rows_are_unit_vectors(provider: LocalProvider, alias: str) -> None:
    vectors = await embed(provider, alias, [*QUESTIONS, *ANSWERS])
    assert vectors.dimensions == EMBEDDERS[alias]
    assert len(vectors) == 6
    assert all(math.isclose(cosine(row, row), 1, abs_tol=1e-3) for row in vectors.rows())
    assert vectors.usage.input_tokens > 30


async def test_questions_find_their_answers(provider: LocalProvider, alias: str) -> None:
    questions = await embed(provider, alias, QUESTIONS, purpose="query")
    answers = await embed(provider, alias, ANSWERS)
    for number, question in enumerate(questions.rows()):
        scores = [cosine(question, answer) for answer in answers.rows()]
        assert scores.index(max(scores)) == number


async def test_meaning_crosses_languages(provider: LocalProvider, alias: str) -> None:
    texts = ["How do I get a refund?", "환불은 어떻게 받나요?", "오늘 서울 날씨 어때?"]
    refund, same, other = (await embed(provider, alias, texts)).rows()
    assert cosine(refund, same) > cosine(refund, other) + 0.1


async def test_the_quality_embedder_tells_queries_from_passages(provider: LocalProvider) -> None:
    query, passage = [
        (await embed(provider, "embed-quality", ["refund"], purpose=purpose)).rows()[0]
        for purpose in ("query", "passage")
    ]
    assert cosine(query, passage) < 0.99


async def test_any_text_is_embedded(provider: LocalProvider, alias: str) -> None:
    texts = ["", "\0", "a\0b", "\ud800", "👩‍💻", "שלום", "각", "x" * 5000]
    vectors = await embed(provider, alias, texts)
    assert len(vectors) == len(texts)
    assert all(map(math.isfinite, array.array("f", vectors.data)))


async def test_what_follows_a_nul_counts(provider: LocalProvider, alias: str) -> None:
    rows = (await embed(provider, alias, ["a\0refund", "a\0weather"])).rows()
    assert cosine(*rows) < 0.99


async def test_a_text_without_end_is_refused(provider: LocalProvider, alias: str) -> None:
    with pytest.raises(ContextTooLong, match="split it") as caught:
        await embed(provider, alias, ["a", "b" * 100_000])
    assert caught.value.param == "input[1]"


async def test_token_numbers_are_refused(provider: LocalProvider, alias: str) -> None:
    with pytest.raises(InvalidField, match="text, not token numbers"):
        await embed(provider, alias, [], tokens=((1, 2),))


async def test_other_dimensions_are_refused(provider: LocalProvider, alias: str) -> None:
    with pytest.raises(InvalidField, match=str(EMBEDDERS[alias])):
        await embed(provider, alias, ["a"], dimensions=7)
    assert await embed(provider, alias, ["a"], dimensions=EMBEDDERS[alias])


async def test_a_name_that_is_no_embedder_is_refused(provider: LocalProvider) -> None:
    own = attrs.evolve(model(provider, "embed-fast"), name="embed-best")
    with pytest.raises(UnknownModel, match="embed-fast, embed-quality"):
        await provider.embed(own, EmbeddingRequest(model="mine", input=("a",)), group="default")
