"""What the one said whom a question names comes before what was answered."""

import numpy as np
import pytest
from coe_retrieval.question import Question
from coe_retrieval.shelf import Shelf
from coe_retrieval.speaker import NAMED, Speakers
from coe_retrieval.term import terms
from hypothesis import given
from hypothesis import strategies as st

from coe_core.turn import Passage

SAID = [("Ann", "Where did you go?"), ("민수", "To the sea."), ("Ann", "Nice!"), ("", "Bye.")]


def speakers() -> Speakers:
    made = Speakers()
    for number, (name, _) in enumerate(SAID):
        made.add(name, number)
    return made


@pytest.mark.parametrize(
    ("question", "raised"),
    [
        ("What did Ann's sister say to ann?", [0, 2]),
        ("민수는 어디에 갔나요?", [1]),
        ("Did Ann and 민수 meet?", []),
        ("Where is the sea?", []),
    ],
)
def test_the_one_that_is_named_is_favoured(question: str, raised: list[int]) -> None:
    scores = speakers().favour(np.full(len(SAID), 0.5, np.float32), terms(question))
    expected = [0.5 + NAMED * (number in raised) for number in range(len(SAID))]
    assert scores.tolist() == pytest.approx(expected)


@given(st.lists(st.floats(0, 1, width=32), min_size=len(SAID), max_size=len(SAID)))
def test_scores_stay_scores(scores: list[float]) -> None:
    before = np.array(scores, np.float32)
    after = speakers().favour(before, terms("What did Ann say?"))
    assert before.tolist() == pytest.approx(scores)
    assert all(b <= a <= 1 for a, b in zip(after.tolist(), before.tolist(), strict=True))


def test_a_shelf_of_turns_tells_who_said_it() -> None:
    shelf = Shelf(of_turns=True)
    before = ""
    for number, (name, text) in enumerate(
        [("Bea", "the trip was fine"), ("Ann", "the trip was fine")]
    ):
        shelf.put(
            Passage(id=f"{number}", text=text, layer="global", source="s", kind="turn", title=name),
            behind=before,
        )
        before = f"{number}"
    for name in ("Ann", "Bea"):
        question = Question(tuple(terms(f"how was the trip of {name}")))
        assert next(iter(shelf.search(question, lambda _: True))).title == name
