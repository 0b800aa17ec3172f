"""The closed forms are what they claim to be, and nothing depends on the order of examples."""

import random

import numpy as np
import pytest
from coe_routing.array import Array
from coe_routing.classifier import NOTHING, Classifier, Lesson
from hypothesis import given, settings
from hypothesis import strategies as st

WORDS = (
    ("refund", "money", "back", "return"),
    ("code", "python", "loop", "function"),
    ("호텔", "출장", "예약", "항공권"),
)


def lesson(draw: random.Random, label: int) -> Lesson:
    own = WORDS[label] if label != NOTHING else ("weather", "song")
    words = draw.choices(own, k=3) + draw.choices("abcdefgh", k=2)
    return Lesson(text=" ".join(words), label=label, weight=draw.choice((0.5, 1.0)))


def vectors(lessons: list[Lesson], seed: int) -> list[Array]:
    centre = np.random.default_rng(seed).normal(size=(4, 12))
    noise = [np.random.default_rng(abs(hash((x.text, seed))) % 2**32) for x in lessons]
    rows = [centre[x.label] + 0.7 * r.normal(size=12) for x, r in zip(lessons, noise, strict=True)]
    return [np.array(rows, np.float32), np.array(rows, np.float32)[:, ::-1].copy()]


@st.composite
def taught(draw: st.DrawFn) -> tuple[list[Lesson], list[Array]]:
    """Lessons of three labels and sometimes of none, with the vectors of two embedders."""
    seed = draw(st.integers(0, 10_000))
    dice = random.Random(seed)
    labels = [0, 0, 1, 1, 2, 2, *dice.choices((0, 1, 2, NOTHING), k=draw(st.integers(0, 8)))]
    lessons = [lesson(dice, label) for label in labels]
    return lessons, vectors(lessons, seed)


def row(taught_vectors: list[Array], at: int) -> list[Array]:
    return [each[at] for each in taught_vectors]


@given(taught(), st.randoms(use_true_random=False))
@settings(max_examples=20, deadline=None)
def test_the_order_of_examples_changes_nothing(
    given_: tuple[list[Lesson], list[Array]], dice: random.Random
) -> None:
    lessons, rows = given_
    order = list(range(len(lessons)))
    dice.shuffle(order)
    one = Classifier.fit(lessons, rows, 3)
    other = Classifier.fit([lessons[i] for i in order], [each[order] for each in rows], 3)
    for at, each in enumerate(lessons):
        first, second = (c.judge(each.text, row(rows, at)) for c in (one, other))
        assert first.scores == pytest.approx(second.scores, abs=1e-4)
        assert first.confidence == pytest.approx(second.confidence, abs=1e-3)


@given(taught())
@settings(max_examples=15, deadline=None)
def test_what_is_said_of_an_example_left_out_is_what_a_fit_without_it_says(
    given_: tuple[list[Lesson], list[Array]],
) -> None:
    lessons, rows = given_
    whole = Classifier.fit(lessons, rows, 3)
    kernel = whole.kernel_of([x.text for x in lessons], rows)
    slack = np.diag([0.05 / x.weight for x in lessons])
    targets = np.array([[x.label == n for n in range(3)] for x in lessons]) - 0.25
    for at in range(len(lessons)):
        rest = [i for i in range(len(lessons)) if i != at]
        for fit, likeness in (whole.choice, kernel), (whole.scope, kernel**2):
            fitted = np.linalg.solve((likeness + slack)[np.ix_(rest, rest)], targets[rest])
            expected = likeness[at, rest] @ fitted + 0.25
            assert fit.left_out[at] == pytest.approx(expected, abs=1e-3)


@given(taught())
@settings(max_examples=15, deadline=None)
def test_what_is_said_of_a_class_left_out_is_what_a_fit_without_it_says(
    given_: tuple[list[Lesson], list[Array]],
) -> None:
    lessons, rows = given_
    whole = Classifier.fit(lessons, rows, 3)
    kernel = whole.kernel_of([x.text for x in lessons], rows)
    slack = np.diag([0.05 / x.weight for x in lessons])
    targets = np.array([[x.label == n for n in range(3)] for x in lessons]) - 0.25
    for label in range(3):
        out = [i for i, x in enumerate(lessons) if x.label == label]
        rest = [i for i, x in enumerate(lessons) if x.label != label]
        for fit, likeness in (whole.choice, kernel), (whole.scope, kernel**2):
            fitted = np.linalg.solve((likeness + slack)[np.ix_(rest, rest)], targets[rest])
            expected = likeness[np.ix_(out, rest)] @ fitted + 0.25
            assert fit.class_left_out[out] == pytest.approx(expected, abs=1e-3)


@given(taught(), st.integers(0, 2))
@settings(max_examples=20, deadline=None)
def test_a_label_that_is_not_allowed_is_never_best(
    given_: tuple[list[Lesson], list[Array]], barred: int
) -> None:
    lessons, rows = given_
    fitted = Classifier.fit(lessons, rows, 3)
    allowed = np.arange(3) != barred
    for at, each in enumerate(lessons):
        verdict = fitted.judge(each.text, row(rows, at), allowed)
        assert verdict.best != barred
        assert 0 <= verdict.confidence <= verdict.scope <= 1
        assert verdict.shares().sum() == pytest.approx(1)


def test_it_knows_its_own_and_doubts_what_is_like_nothing() -> None:
    dice = random.Random(1)
    lessons = [lesson(dice, label) for label in (0, 1, 2) * 6]
    rows = vectors(lessons, 1)
    fitted = Classifier.fit(lessons, rows, 3)
    known = [fitted.judge(x.text, row(rows, at)) for at, x in enumerate(lessons)]
    assert [verdict.best for verdict in known] == [x.label for x in lessons]
    strange = fitted.judge("qqq zzz", [np.full(12, -5.0), np.full(12, 5.0)])
    assert strange.confidence < min(verdict.confidence for verdict in known)


@pytest.mark.parametrize("labels", [1, 2])
def test_few_examples_are_enough_to_begin(labels: int) -> None:
    lessons = [Lesson(text=f"{WORDS[n][0]} {WORDS[n][1]}", label=n) for n in range(labels)]
    rows = vectors(lessons, 3)
    verdict = Classifier.fit(lessons, rows, labels).judge(lessons[0].text, row(rows, 0))
    assert verdict.best == 0
    assert 0 < verdict.confidence < 1
