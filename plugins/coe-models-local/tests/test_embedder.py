"""The bundled embedders, for real."""

from __future__ import annotations

import array
import asyncio
import math
import threading
from collections.abc import Sequence
from typing import Any

import attrs
import numpy as np
import pytest
from coe_models_local.embedder import LocalEmbedder
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


async def test_calls_at_once_get_what_each_alone_would(provider: LocalProvider, alias: str) -> None:
    asked = [QUESTIONS, ANSWERS, QUESTIONS[:1], ["a"] * 20, [""], ANSWERS[2:]]
    alone = [await embed(provider, alias, texts, purpose="query") for texts in asked]
    calls = [embed(provider, alias, texts, purpose="query") for texts in asked]
    for vectors, own in zip(await asyncio.gather(*calls), alone, strict=True):
        assert vectors.usage == own.usage
        for row, expected in zip(vectors.rows(), own.rows(), strict=True):
            assert row == pytest.approx(expected, abs=1e-5)


class Reader:
    """An embedder's library, as far as it matters here: it holds on to its first text, and cannot
    read some.
    """

    def __init__(self) -> None:
        self.began, self.go_on = threading.Event(), threading.Event()
        self.read: list[list[str]] = []

    def encode(self, texts: list[str], _: str) -> tuple[Any, list[int]]:
        self.read.append(texts)
        if texts == ["first"]:
            self.began.set()
            self.go_on.wait(30)
        if "unreadable" in texts:
            raise ValueError
        return np.array([[len(text)] for text in texts], "f4"), [1 for _ in texts]


async def asked_behind_the_first(reader: Reader, others: Sequence[Sequence[str]]) -> list[Any]:
    embedder = LocalEmbedder("ours", lambda _: reader.encode, 1, together=4)
    first = asyncio.create_task(embedder.embed(["first"], "query"))
    await asyncio.to_thread(reader.began.wait, 30)
    calls = [asyncio.create_task(embedder.embed(texts, "query")) for texts in others]
    await asyncio.sleep(0)
    reader.go_on.set()
    await first
    found = await asyncio.gather(*calls, return_exceptions=True)
    embedder.close()
    return found


async def test_calls_that_wait_are_read_together_as_far_as_they_fit() -> None:
    reader = Reader()
    found = await asked_behind_the_first(reader, [["a"], ["bb", "c"], ["d"] * 5, ["eee"]])
    assert reader.read == [["first"], ["a", "bb", "c", "eee"], ["d"] * 5]
    assert [vectors.rows() for vectors in found[:2]] == [[[1.0]], [[2.0], [1.0]]]


async def test_a_call_that_fails_fails_alone() -> None:
    found = await asked_behind_the_first(Reader(), [["a"], ["unreadable"], ["bb"]])
    assert found[0].rows() == [[1.0]]
    assert isinstance(found[1], ValueError)
    assert found[2].rows() == [[2.0]]


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
