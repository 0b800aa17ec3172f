"""A shelf: what was removed, replaced and added leaves what a new one would be."""

import pytest
from coe_retrieval.question import Question
from coe_retrieval.shelf import Shelf
from coe_retrieval.term import terms
from hypothesis import given
from hypothesis import strategies as st

from coe_core.turn import Passage

WORDS = ("연차", "환불", "server", "budget", "회의실", "refund", "15", "30")
TEXTS = st.lists(st.sampled_from(WORDS), min_size=1, max_size=5).map(" ".join)
STEPS = st.lists(st.tuples(st.sampled_from("abcdef"), TEXTS | st.none()), max_size=12)


def passage(id_: str, text: str) -> Passage:
    return Passage(id=id_, text=text, layer="global", source="s", item="i", kind="document")


def found(shelf: Shelf, text: str) -> dict[str, float]:
    question = Question(tuple(terms(text)))
    return {p.id: pytest.approx(p.score) for p in shelf.search(question, lambda _: True)}


@given(STEPS, TEXTS)
def test_a_shelf_is_what_lies_on_it(steps: list[tuple[str, str | None]], asked: str) -> None:
    shelf, left = Shelf(), dict[str, str]()
    for id_, text in steps:
        if text is None:
            shelf.remove(id_)
            left.pop(id_, None)
        else:
            shelf.put(passage(id_, f"{text} {id_}"))
            left[id_] = f"{text} {id_}"
    anew = Shelf()
    for id_, text in left.items():
        anew.put(passage(id_, text))
    assert len(shelf) == len(left)
    assert found(shelf, asked) == found(anew, asked)
