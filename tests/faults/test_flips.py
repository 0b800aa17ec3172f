"""One bit of log or database changes."""

from typing import Any

import pytest

from .conftest import Run
from .size import sample_or_all


@sample_or_all("flips", sample=60, full=2500)
@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_what_changes_what_is_read_is_found_and_mended(prove: Run, seed: int, flips: int) -> None:
    check(prove("flips", "--seed", str(seed), "--flips", str(flips)), flips)


@sample_or_all("flips", sample=30, full=2500)
@pytest.mark.parametrize("seed", [1])
def test_what_changes_what_is_read_is_found_and_mended_where_postgres_has_the_tables(
    prove: Run, postgres_url: str, seed: int, flips: int
) -> None:
    options = ("--seed", str(seed), "--flips", str(flips), "--server", postgres_url)
    check(prove("flips", *options), flips)


def check(seen: dict[str, Any], flips: int) -> None:
    assert seen["log_flips"] + seen["database_flips"] == flips
    assert seen["log_found"] == seen["log_mended"] == seen["log_flips"]
    assert seen["database_found"] == seen["database_mended"]
    assert seen["database_found"] > seen["database_flips"] / 10
