"""Something happens to each call of the operating system in turn."""

from pathlib import Path

import pytest

from .conftest import Run
from .size import sample_or_all

SEED = "20261122"


@sample_or_all("cases", sample=12, full=None)
@pytest.mark.parametrize(
    "fault",
    [
        "FAILS --error EIO",
        "FAILS --error ENOSPC --lasts 4",
        "TEARS --error ENOSPC",
        "TEARS --error EIO --lasts 25",
        "FAILS_LATE --error EIO",
        "IS_SHORT",
        "DIES",
        "DIES_TORN",
    ],
)
def test_no_call_that_goes_wrong_loses_a_turn(
    prove: Run, shim: Path, fault: str, cases: int | None
) -> None:
    """All that the process asks for below the data folder: of the log, the intents, the locks and
    manifests, and of SQLite.
    """
    sweep(prove, shim, fault, cases)


@sample_or_all("cases", sample=3, full=None)
@pytest.mark.parametrize(
    "fault",
    [
        "FAILS --error EIO",
        "FAILS --error ENOSPC --lasts 25",
        "TEARS --error EIO",
        "FAILS_LATE --error EIO",
        "IS_SHORT",
        "DIES",
        "DIES_TORN",
    ],
)
def test_no_call_that_goes_wrong_loses_a_turn_where_postgres_has_the_tables(
    prove: Run, shim: Path, postgres_url: str, fault: str, cases: int | None
) -> None:
    """All that is asked of the server is among the calls: there the connection is lost, before or
    after what was asked for is done.
    """
    sweep(prove, shim, fault, cases, "--server", postgres_url)


def sweep(prove: Run, shim: Path, fault: str, cases: int | None, *more: str) -> None:
    options = ["--seed", SEED, "--fault", *fault.split(), *more]
    if cases is not None:
        options += ["--cases", str(cases)]
    seen = prove("sweep", *options, preload=shim)
    assert seen["cases"] == (cases or seen["calls"])
    assert seen["calls"] > 300
    assert seen["acknowledged"] > 5 * seen["cases"]
