"""A matrix gives exact cosines; in cells, of what is near."""

import numpy as np
import pytest
from coe_retrieval import matrix as matrix_module
from coe_retrieval.array import Rows
from coe_retrieval.matrix import Matrix
from hypothesis import given
from hypothesis import strategies as st

WIDTH = 16


def clustered(count: int) -> Rows:
    """Draw unit vectors around a few centres."""
    random = np.random.default_rng(count)
    centres = 3 * random.normal(size=(20, WIDTH))
    rows = centres[random.integers(0, 20, count)] + random.normal(size=(count, WIDTH))
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


@given(numbers=st.sets(st.integers(0, 300), max_size=40), size=st.integers(0, 400))
def test_few_vectors_are_compared_exactly(numbers: set[int], size: int) -> None:
    rows = clustered(301)
    matrix = Matrix(WIDTH)
    for number in numbers:
        matrix.put(number, 2 * rows[number])
    found = matrix.similarity(rows[0], size)
    expected = [rows[n] @ rows[0] if n in numbers else np.nan for n in range(size)]
    np.testing.assert_allclose(found, np.array(expected, np.float32), rtol=1e-4, atol=1e-5)


@pytest.fixture
def stale(monkeypatch: pytest.MonkeyPatch) -> Matrix:
    """Return a matrix that is to be arranged."""
    monkeypatch.setattr(matrix_module, "EXACT_MOST", 1000)
    matrix = Matrix(WIDTH)
    for number, row in enumerate(clustered(4000)):
        matrix.put(number, row)
    assert matrix.is_stale
    return matrix


def test_cells_find_what_an_exact_search_does(stale: Matrix) -> None:
    rows, made = clustered(4000), stale.rest(stale.arranged())
    assert not made.is_stale
    recalls = []
    for row in rows[:100]:
        found = made.similarity(row, 4000)
        assert np.isnan(found).sum() > 2000, "the cells that are far were compared too"
        known = np.flatnonzero(~np.isnan(found))
        np.testing.assert_allclose(found[known], rows[known] @ row, atol=1e-5)
        exact = set(np.argsort(-(rows @ row))[:10].tolist())
        best = known[np.argsort(-found[known])[:10]]
        recalls.append(len(exact & set(best.tolist())) / 10)
    assert np.mean(recalls) >= 0.98


def test_what_comes_while_cells_are_made_is_kept(stale: Matrix) -> None:
    arranged, late = stale.arranged(), clustered(500)
    for number, row in enumerate(late):
        stale.put(5000 + number, row)
    made = stale.rest(arranged)
    found = made.similarity(late[7], 6000)
    np.testing.assert_allclose(found[5000:5500], late @ late[7], atol=1e-5)
    for number, row in enumerate(clustered(1500)):
        made.put(6000 + number, row)
    assert made.is_stale


def test_what_is_asked_for_is_compared_though_it_is_far(stale: Matrix) -> None:
    made, rows = stale.rest(stale.arranged()), clustered(4000)
    far = int(np.argmin(rows @ rows[0]))
    assert np.isnan(made.similarity(rows[0], 4000)[far])
    found = made.similarity(rows[0], 4000, [far, 9999])
    assert found[far] == pytest.approx(rows[far] @ rows[0], abs=1e-5)
