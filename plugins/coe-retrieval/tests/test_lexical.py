"""BM25 that grows and shrinks gives the scores of one that was made of what is left."""

import numpy as np
from coe_retrieval.lexical import ALONE, NOBODY, Kernel, LexicalIndex
from hypothesis import given
from hypothesis import strategies as st

WORDS = st.lists(st.sampled_from("가나다라마바사"), min_size=1, max_size=6)
TEXTS = st.lists(WORDS, min_size=1, max_size=8)
KERNELS = st.sampled_from([ALONE, (1.0, 0.5), (1.0, 0.8, 0.6)])


def made(texts: list[list[str]], kernel: Kernel = ALONE) -> LexicalIndex:
    index = LexicalIndex(kernel)
    for number, text in enumerate(texts):
        index.add(text, behind=number - 1 if number else NOBODY)
    return index


@given(TEXTS, WORDS, KERNELS)
def test_scores_are_shares_of_the_question(
    texts: list[list[str]], asked: list[str], kernel: Kernel
) -> None:
    scores = made(texts, kernel).scores(asked)
    assert len(scores) == len(texts)
    assert np.all((scores >= 0) & (scores <= 1))


@given(TEXTS, WORDS)
def test_only_what_has_a_term_has_a_score(texts: list[list[str]], asked: list[str]) -> None:
    for text, score in zip(texts, made(texts).scores(asked), strict=True):
        assert (score > 0) == bool(set(text) & set(asked))


@given(TEXTS, TEXTS, WORDS, KERNELS)
def test_what_was_removed_changes_nothing(
    kept: list[list[str]], gone: list[list[str]], asked: list[str], kernel: Kernel
) -> None:
    index = made(kept, kernel)
    for number, text in enumerate(gone):
        added = index.add(text, behind=len(kept) + number - 1 if number else NOBODY)
        index.remove(added, text)
    left = index.scores(asked)[: len(kept)]
    np.testing.assert_allclose(left, made(kept, kernel).scores(asked), rtol=1e-6)
    assert len(index) == len(kept)


@given(TEXTS, WORDS)
def test_neighbours_count_as_if_they_were_one_text(
    texts: list[list[str]], asked: list[str]
) -> None:
    joined = [
        [word for text in texts[max(0, at - 1) : at + 2] for word in text]
        for at in range(len(texts))
    ]
    whole = made(texts, (1.0, 1.0)).scores(asked) > 0
    assert list(whole) == [bool(set(text) & set(asked)) for text in joined]


def test_a_rare_term_counts_more() -> None:
    scores = made([["a", "b"], ["a", "c"], ["a", "d"]]).scores(["a", "c"])
    assert scores.argmax() == 1
    assert scores[0] == scores[2]
