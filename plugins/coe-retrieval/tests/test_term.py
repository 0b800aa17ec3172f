"""Terms: other forms of a word are the same word, and every text has some."""

import pytest
from coe_retrieval.term import terms
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("deploying servers", "deploy a server"),
        ("연차를", "연차는"),
        ("환불 규정에서는", "환불 규정"),
        ("회의실에서", "회의실"),
        ("ＡＰＩ", "api"),
    ],
)
def test_forms_of_a_word_are_one(one: str, other: str) -> None:
    assert set(terms(one)) == set(terms(other))


def test_a_missing_blank_leaves_most_pairs() -> None:
    with_blank, without = set(terms("법인카드 한도")), set(terms("법인카드한도"))
    assert len(with_blank & without) >= 3


def test_numbers_stay_whole() -> None:
    assert "2026-03-01" in terms("2026-03-01 시행")
    assert "1,500" in terms("1,500원")


@given(st.text())
def test_what_is_not_blank_has_terms(text: str) -> None:
    found = terms(text)
    assert bool(found) >= bool(text.strip())
    assert found == terms(text)
