"""A shelf: what was removed, replaced and added leaves what a new one would be."""

import numpy as np
import pytest
from attrs import evolve
from coe_retrieval.array import Vector
from coe_retrieval.content import ANSWERED, digest
from coe_retrieval.matrix import Matrix
from coe_retrieval.question import Meaning, Question
from coe_retrieval.shelf import FORGETS, Shelf
from coe_retrieval.shelves import Shelves
from coe_retrieval.term import terms
from hypothesis import given
from hypothesis import strategies as st

from coe_core.knowledge import PassageChanges
from coe_core.turn import Passage

WORDS = ("연차", "환불", "server", "budget", "회의실", "refund", "15", "30")
TEXTS = st.lists(st.sampled_from(WORDS), min_size=1, max_size=5).map(" ".join)
STEPS = st.lists(st.tuples(st.sampled_from("abcdef"), TEXTS | st.none()), max_size=12)


def passage(id_: str, text: str) -> Passage:
    return Passage(id=id_, text=text, layer="global", source="s", item="i", kind="document")


def vector(text: str) -> Vector:
    """Make a vector of a text's words."""
    return np.array([1 + text.split().count(word) for word in WORDS], np.float32)


def embedded(shelf: Shelf) -> None:
    shelf.keep({digest(text): vector(text) for text in shelf.pending.values()})


def found(shelf: Shelf, text: str) -> dict[str, float]:
    question = Question(tuple(terms(text)), meaning=Meaning(vector(text), 0.5))
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
        embedded(shelf)
    anew = Shelf()
    for id_, text in left.items():
        anew.put(passage(id_, text))
    embedded(anew)
    renewed = shelf.renewed()
    assert len(shelf) == len(renewed) == len(left) == len(renewed.passages)
    assert not renewed.pending
    assert found(shelf, asked) == found(renewed, asked) == found(anew, asked)


def test_shelves_may_be_gone_through_while_one_is_added() -> None:
    shelves, one = Shelves(), passage("a", "text")
    shelves.change(PassageChanges(put=(one,), cursor="1"))
    names = iter(shelves.by_name)
    other = evolve(one, id="b", layer="group:law")
    shelves.change(PassageChanges(put=(other,), cursor="2"))
    assert list(names) == [("global", False)]
    assert list(shelves.by_name) == [("global", False), ("group:law", False)]


class Vanishing(Matrix):
    """Is taken away by another thread while somebody looks at it."""

    def __init__(self, shelf: Shelf) -> None:
        """Lie on a shelf."""
        super().__init__(1)
        self.shelf = shelf

    @property
    def is_stale(self) -> bool:
        self.shelf.forget_vectors()
        return True


def test_a_matrix_that_vanishes_is_seen_whole_or_not_at_all() -> None:
    shelf = Shelf()
    shelf._matrix = vanishing = Vanishing(shelf)
    assert shelf.stale is vanishing


def test_what_changes_for_ever_is_not_remembered_for_ever() -> None:
    shelves = Shelves()
    for number in range(3000):
        put = passage("a", f"text number {number}")
        shelves.change(PassageChanges(put=(put,), cursor=str(number)))
    (shelf,) = shelves.by_name.values()
    assert len(shelf) == 1
    assert len(shelf.passages) <= FORGETS + 3


def test_a_turn_is_embedded_behind_the_end_of_what_it_answers() -> None:
    shelf, last = Shelf(of_turns=True), ""
    said = ["what pet do you have?", "Oscar", "x" * ANSWERED + " and that is all", "fine"]
    for text in said:
        turn = evolve(passage(text[:5], text), kind="turn")
        shelf.put(turn, behind=last)
        last = turn.id
    shelf.put(evolve(passage("alone", "Oscar"), kind="turn"))  # Of another conversation.
    assert list(shelf.pending.values()) == [
        said[0],
        "what pet do you have?\nOscar",
        f"Oscar\n{said[2]}",
        f"{said[2][-ANSWERED:]}\nfine",
        "Oscar",
    ]
    assert shelf.contents == {digest(text): text for text in shelf.pending.values()}
    embedded(shelf)
    shelf.forget_vectors()
    assert shelf.contents == {digest(text): text for text in shelf.pending.values()}
