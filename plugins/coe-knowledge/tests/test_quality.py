"""What ratings say of a card, in one number."""

import pytest
from coe_knowledge.quality import quality
from hypothesis import given
from hypothesis import strategies as st

MANY = st.integers(0, 10_000)


def score(good: int, bad: int, neither: int) -> float:
    found = quality(good + bad + neither, good, bad)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("good", "bad", "neither", "expected"),
    [(1, 0, 0, 2 / 3), (0, 1, 0, 1 / 3), (0, 0, 1, 1 / 2), (8, 0, 0, 0.9), (2, 1, 1, 3.5 / 6)],
)
def test_one_good_and_one_bad_rating_are_added(
    good: int, bad: int, neither: int, expected: float
) -> None:
    assert score(good, bad, neither) == pytest.approx(expected)


def test_what_nobody_rated_has_no_quality() -> None:
    assert quality(0, 0, 0) is None


@given(good=MANY, bad=MANY, neither=MANY)
def test_better_ratings_make_it_better_and_more_of_them_surer(
    good: int, bad: int, neither: int
) -> None:
    if not good + bad + neither:
        return
    found = score(good, bad, neither)
    assert 0 < found < 1
    assert score(good + 1, bad, neither) > found > score(good, bad + 1, neither)
    assert score(bad, good, neither) == pytest.approx(1 - found)
    twice = score(2 * good, 2 * bad, 2 * neither)
    assert abs(twice - 1 / 2) >= abs(found - 1 / 2) - 1e-12
