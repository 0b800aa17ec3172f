import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

KILLING = Path(__file__).with_name("killing.py")
FULL_SEED = 20261122


@pytest.mark.parametrize(
    ("kind", "seed", "cycles"),
    [
        ("sqlite", 20261101, 300),
        ("postgres", 20261101, 30),
        pytest.param("sqlite", FULL_SEED, 10_000, marks=pytest.mark.faults),
        pytest.param("postgres", FULL_SEED, 1_000, marks=pytest.mark.faults),
    ],
)
def test_killed_writers_lose_nothing(
    kind: str,
    seed: int,
    cycles: int,
    memory: Path,
    request: pytest.FixtureRequest,
    record_property: Callable[[str, object], None],
) -> None:
    """In each cycle one to three processes write at once until they are killed."""
    command = [sys.executable, "-W", "error", str(KILLING), str(memory / f"kills-{kind}-{seed}")]
    options = ["--seed", str(seed), "--cycles", str(cycles)]
    if kind == "postgres":
        command += ["--server", request.getfixturevalue("postgres_url")]
    run = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    seen = json.loads(run.stdout)
    assert seen.pop("violations") == []
    record_property("figures", f"killing, {kind} {' '.join(options)}: {json.dumps(seen)}")
    assert seen["kills"] >= cycles
    assert seen["acknowledged"] > 3 * cycles
