"""A shelf: what was removed, replaced and added leaves what a new one would be."""

import numpy as np
import pytest
from coe_retrieval import shelf as shelf_module
from coe_retrieval.content import content, digest
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


def test_a_large_shelf_asks_the_vault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shelf_module, "EXACT_MOST", 3)
    shelf = Shelf()
    for number in range(3):
        shelf.put(passage(str(number), f"text number {number}"))
    vectors = {digest(text): np.eye(8, dtype=np.float32)[n] for n, text in shelf.pending.items()}
    shelf.keep(vectors)
    assert not shelf.pending
    assert not shelf.is_large
    shelf.put(passage("3", "text number 3"))
    shelf.keep(vectors | {digest("text number 3"): np.ones(8, np.float32)})
    assert shelf.is_large
    assert not shelf.pending
    near = {digest(content(passage("2", "text number 2"))): 0.9, digest("text number 3"): 0.5}
    question = Question(("nothing",), np.ones(8, np.float32), 0.4)
    first, *_ = shelf.search(question, lambda _: True, near)
    assert first.id == "2"
