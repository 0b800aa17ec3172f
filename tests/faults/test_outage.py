"""Whole servers are killed under load."""

import pytest

from .conftest import Run
from .size import sample_or_all

SEED = "20261122"


@sample_or_all("kills", sample=4, full=150)
@pytest.mark.parametrize("workers", [1, 3])
def test_every_answer_that_a_client_saw_end_is_kept_once(
    prove: Run, workers: int, kills: int
) -> None:
    options = {"--seed": SEED, "--workers": str(workers), "--kills": str(kills)}
    seen = prove("outage", *(part for pair in options.items() for part in pair))
    assert seen["kills"] == kills
    assert seen["ended"] > kills


@sample_or_all("kills", sample=2, full=50)
def test_every_answer_is_kept_once_where_postgres_has_the_tables(
    prove: Run, postgres_url: str, kills: int
) -> None:
    options = ("--seed", SEED, "--workers", "2", "--kills", str(kills), "--server", postgres_url)
    seen = prove("outage", *options)
    assert seen["kills"] == kills
    assert seen["ended"] > kills
