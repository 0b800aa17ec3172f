"""Four machines and one budget: whoever spends and whoever dies, it is never overshot."""

import subprocess
import sys
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest

SPENDING = Path(__file__).with_name("spending.py")
MACHINES = 4
LIMIT = Decimal(100)


@pytest.mark.parametrize(
    "seed", [1, *(pytest.param(n, marks=pytest.mark.faults) for n in range(2, 40))]
)
@pytest.mark.parametrize("killed", [0, 2])
def test_machines_never_overshoot(
    seed: int, killed: int, new_server: Callable[[], str], tmp_path: Path
) -> None:
    (address := tmp_path / "address").write_text(new_server())
    machines = [
        subprocess.Popen(
            [sys.executable, SPENDING, address, str(seed * MACHINES + number), str(LIMIT)],
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(MACHINES)
    ]
    promised = []
    for machine in machines[:killed]:
        assert machine.stdout is not None
        promised += [machine.stdout.readline() for _ in range(5 * seed)]
        machine.kill()
    for machine in machines:
        promised += machine.communicate()[0].splitlines()
        assert machine.returncode == (-9 if machine in machines[:killed] else 0)
    spent = sum(map(Decimal, filter(None, promised)), Decimal(0))
    assert spent <= LIMIT
    if not killed:
        assert spent > LIMIT * 99 / 100, "what one gave up, another could have spent"
