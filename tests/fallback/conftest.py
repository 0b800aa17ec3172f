"""What the runs of the matrix have come to, told at the end."""

from collections import Counter
from typing import Any

import pytest

TALLY = pytest.StashKey[Counter[str]]()


@pytest.fixture
def tally(request: pytest.FixtureRequest) -> Counter[str]:
    """Counts of how turns ended, over all tests."""
    return request.config.stash.setdefault(TALLY, Counter())


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print the counts."""
    counts = terminalreporter.config.stash.get(TALLY, None)
    if counts:
        terminalreporter.section("faults")
        for name in sorted(counts):
            terminalreporter.write_line(f"{counts[name]:6} {name}")
