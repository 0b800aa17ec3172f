import math

from coe_kpi.interval import wilson
from coe_kpi.span import SPANS, pieces
from hypothesis import given
from hypothesis import strategies as st

minutes = st.integers(0, 60 * 1440)


@given(minutes, minutes)
def test_pieces_cover_every_minute_once(a: int, b: int) -> None:
    since, until = sorted((a, b))
    covered = [*pieces(since, until)]
    ends = [(piece.since, piece.until) for piece in covered]
    assert sorted(ends) == ends
    assert [since, *(end for _, end in ends)] == [*(start for start, _ in ends), until]
    for piece in covered:
        assert piece.since % piece.span == piece.until % piece.span == 0
        assert piece.since < piece.until


@given(minutes, minutes)
def test_there_are_few_buckets(a: int, b: int) -> None:
    since, until = sorted((a, b))
    small = [(p.until - p.since) // p.span for p in pieces(since, until) if p.span != SPANS[-1]]
    assert sum(small) <= 2 * (59 + 23)


@given(st.integers(0, 10**6), st.integers(1, 10**6))
def test_the_interval_holds_the_share_and_solves_wilson_s_equation(a: int, n: int) -> None:
    successes = min(a, n)
    low, high = wilson(successes, n) or (1, 0)
    share = successes / n
    assert 0 <= low <= share <= high <= 1
    for bound in (low, high):
        if 0 < bound < 1:
            z = abs(share - bound) / math.sqrt(bound * (1 - bound) / n)
            assert math.isclose(z, 1.959963984540054, rel_tol=1e-6)


def test_nothing_has_no_interval() -> None:
    assert wilson(0, 0) is None
