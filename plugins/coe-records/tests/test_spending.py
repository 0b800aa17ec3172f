"""Four processes and one budget: whoever spends and whoever dies, it is never overshot."""

import subprocess
import sys
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest

SPENDING = Path(__file__).with_name("spending.py")
PROCESSES = 4
LIMIT = Decimal(100)


@pytest.fixture(params=["sqlite", "postgres"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Where the processes have their state: on one machine a file, on several a server."""
    if request.param == "sqlite":
        return tmp_path / "state.sqlite"
    new_server: Callable[[], str] = request.getfixturevalue("new_server")
    (address := tmp_path / "address").write_text(new_server())
    return address


@pytest.mark.parametrize(
    "seed", [1, *(pytest.param(n, marks=pytest.mark.faults) for n in range(2, 40))]
)
@pytest.mark.parametrize("killed", [0, 2])
def test_processes_never_overshoot(seed: int, killed: int, store: Path) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, SPENDING, store, str(seed * PROCESSES + number), str(LIMIT)],
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(PROCESSES)
    ]
    promised = []
    for process in processes[:killed]:
        assert process.stdout is not None
        promised += [process.stdout.readline() for _ in range(5 * seed)]
        process.kill()
    for process in processes:
        promised += process.communicate()[0].splitlines()
        # One may have ended before it could be killed: nothing was left to spend.
        assert process.returncode in ({-9, 0} if process in processes[:killed] else {0})
    spent = sum(map(Decimal, filter(None, promised)), Decimal(0))
    assert spent <= LIMIT
    if not killed:
        assert spent > LIMIT * 99 / 100, "what one gave up, another could have spent"
