"""How much of a proof is run: a sample in CI, all of it with `-m faults`."""

import pytest


def sample_or_all(argument: str, *, sample: int, full: int | None) -> pytest.MarkDecorator:
    """Give an argument its two values."""
    whole = pytest.param(full, marks=pytest.mark.faults, id="full")
    return pytest.mark.parametrize(argument, [pytest.param(sample, id="sample"), whole])
