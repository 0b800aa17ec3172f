"""One bit of log or database changes."""

import pytest

from .conftest import Run
from .size import sample_or_all


@sample_or_all("flips", sample=60, full=2500)
@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_what_changes_what_is_read_is_found_and_mended(prove: Run, seed: int, flips: int) -> None:
    seen = prove("flips", "--seed", str(seed), "--flips", str(flips))
    assert seen["log_flips"] + seen["database_flips"] == flips
    assert seen["log_found"] == seen["log_mended"] == seen["log_flips"]
    assert seen["database_found"] == seen["database_mended"]
    assert seen["database_found"] > seen["database_flips"] / 10
