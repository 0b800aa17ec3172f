"""Frames that came together: joined, without anything lost, moved or made up."""

from collections.abc import Iterator
from itertools import pairwise

import pytest
from coe_models_openai.frame import NotAFrame
from coe_models_openai.text import joined
from hypothesis import example, given
from hypothesis import strategies as st

from coe_core.answer import AnswerBuilder
from coe_core.model import Chunk, ToolCallDelta, Usage

SURE = {"logprobs": {"content": [{"token": "0", "logprob": 0.0}]}}
CHUNKS = st.builds(
    Chunk,
    content=st.sampled_from(["", "a", " word", "세계"]),
    tool_calls=st.sampled_from([(), (), (ToolCallDelta(index=0, id="c", name="f"),)]),
    finish_reason=st.sampled_from([None, None, None, "stop"]),
    usage=st.sampled_from([None, None, Usage(output_tokens=1)]),
    index=st.sampled_from([0, 0, 0, 1]),
    delta_extra=st.sampled_from([{}, {}, {"reasoning_content": "hm"}]),
    choice_extra=st.sampled_from([{}, {"logprobs": None}, SURE]),
    extra=st.sampled_from([{}, {"system_fingerprint": "f"}, {"obfuscation": "x"}]),
)


def built(chunks: list[Chunk]) -> tuple[object, ...]:
    """Tell what a client would have of them."""
    builder = AnswerBuilder()
    for chunk in chunks:
        builder.add(chunk)
    usages = [chunk.usage for chunk in chunks if chunk.usage]
    extras = {index: choice.choice_extra for index, choice in builder.choices.items()}
    return builder.messages(), builder.finish_reasons(), builder.extra, extras, usages


@given(st.lists(CHUNKS))
@example([Chunk(content="0", choice_extra=SURE)] * 2)
def test_the_answer_is_the_same(chunks: list[Chunk]) -> None:
    assert built([*joined(chunks)]) == built(chunks)


@given(st.lists(CHUNKS))
def test_what_is_more_than_text_stays_as_it_is(chunks: list[Chunk]) -> None:
    def others(some: list[Chunk]) -> list[Chunk]:
        return [c for c in some if c.tool_calls or c.finish_reason or c.usage or c.delta_extra]

    assert others([*joined(chunks)]) == others(chunks)


@given(st.lists(st.builds(Chunk, content=st.text(min_size=1), index=st.sampled_from([0, 1]))))
def test_texts_of_a_choice_that_follow_one_another_are_one(chunks: list[Chunk]) -> None:
    assert all(one.index != following.index for one, following in pairwise(joined(chunks)))


def test_an_error_comes_after_what_was_there_before_it() -> None:
    def broken() -> Iterator[Chunk]:
        yield Chunk(content="a")
        yield Chunk(content="b")
        raise NotAFrame("no frame")

    chunks = joined(broken())
    assert next(chunks) == Chunk(content="ab")
    with pytest.raises(NotAFrame):
        next(chunks)
