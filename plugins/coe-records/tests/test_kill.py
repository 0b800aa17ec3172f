import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

KILLING = Path(__file__).with_name("killing.py")


@pytest.mark.parametrize(
    ("seed", "cycles"),
    [(20261101, 300), pytest.param(20261122, 10_000, marks=pytest.mark.faults)],
)
def test_killed_writers_lose_nothing(
    tmp_path: Path, seed: int, cycles: int, record_property: Callable[[str, object], None]
) -> None:
    """In each cycle one to three processes write at once until they are killed."""
    command = [sys.executable, "-W", "error", str(KILLING), str(tmp_path)]
    options = ["--seed", str(seed), "--cycles", str(cycles)]
    run = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    seen = json.loads(run.stdout)
    assert seen.pop("violations") == []
    record_property("figures", f"killing --seed {seed} --cycles {cycles}: {json.dumps(seen)}")
    assert seen["kills"] >= cycles
    assert seen["acknowledged"] > 3 * cycles
