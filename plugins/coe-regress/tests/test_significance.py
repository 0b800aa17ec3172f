"""Fisher's exact test and Holm's correction, against what is published and what must hold."""

import pytest
from coe_regress.live import Rate, Rates, compare
from coe_regress.significance import fisher, holm, repeats_needed
from hypothesis import given
from hypothesis import strategies as st


@st.composite
def tables(draw: st.DrawFn) -> tuple[int, int, int, int]:
    n, before = draw(st.integers(1, 20)), draw(st.integers(1, 20))
    return draw(st.integers(0, n)), n, draw(st.integers(0, before)), before


def test_the_lady_and_the_tea() -> None:
    """R. A. Fisher, The Design of Experiments, 1935: eight cups, all told right."""
    assert fisher(4, 4, 0, 4) == pytest.approx(2 / 70)
    assert fisher(3, 4, 1, 4) == pytest.approx(34 / 70)


@given(tables())
def test_it_is_a_probability_and_knows_no_direction(table: tuple[int, int, int, int]) -> None:
    successes, n, before, n_before = table
    p = fisher(successes, n, before, n_before)
    assert 0 < p <= 1 + 1e-12
    assert p == pytest.approx(fisher(before, n_before, successes, n))
    assert p == pytest.approx(fisher(n - successes, n, n_before - before, n_before))


@given(st.integers(0, 10), st.integers(1, 10))
def test_equal_rates_do_not_differ(successes: int, more: int) -> None:
    n = successes + more
    assert fisher(successes, n, successes, n) == pytest.approx(1)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_corrected_probabilities_only_grow_and_keep_their_order(plain: list[float]) -> None:
    adjusted = holm(plain)
    assert all(each >= p for each, p in zip(adjusted, plain, strict=True))
    in_order = [adjusted[index] for index in sorted(range(len(plain)), key=lambda i: plain[i])]
    assert in_order == sorted(in_order)
    assert min(adjusted) == min(1.0, len(plain) * min(plain))


def test_a_difference_is_real_only_where_there_is_enough_to_see() -> None:
    assert repeats_needed() == 4
    few = compare(_rates(a=(3, 3)), _rates(a=(0, 3)))
    many = compare(_rates(a=(10, 10), b=(10, 10)), _rates(a=(1, 10), b=(9, 10), c=(1, 1)))
    assert [d.is_real for d in few] == [False]
    assert [(d.case, d.is_real) for d in many] == [("a", True), ("b", False)]
    (alone,) = compare(_rates(a=(1, 2)), Rates())
    assert (alone.p, alone.is_real) == (None, False)


def _rates(**passed: tuple[int, int]) -> Rates:
    return Rates(cases={id_: Rate(passed=k, repeats=n) for id_, (k, n) in passed.items()})
