"""Whole servers are killed under load."""

import pytest

from .conftest import Run
from .size import sample_or_all


@sample_or_all("kills", sample=4, full=150)
@pytest.mark.parametrize("workers", [1, 3])
def test_every_answer_that_a_client_saw_end_is_kept_once(
    prove: Run, workers: int, kills: int
) -> None:
    options = {"--seed": "20261122", "--workers": str(workers), "--kills": str(kills)}
    seen = prove("outage", *(part for pair in options.items() for part in pair))
    assert seen["kills"] == kills
    assert seen["ended"] > kills
