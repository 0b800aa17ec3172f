"""The proofs of the system of record: a sample in CI, all of it by `nox -s faults`.

Each is a script that prints what it saw as JSON, so that it can be run by itself, with a seed.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from .serving import ROOT
from .shim import build

Run = Callable[..., dict[str, Any]]


@pytest.fixture(scope="session")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is loaded before the C library."""
    if shutil.which("cc") is None:
        pytest.skip("there is no C compiler, cc, to build disk.c with")
    return build(tmp_path_factory.mktemp("shim"))


@pytest.fixture
def memory() -> Iterator[Path]:
    """A folder in memory where the system has such: to most proofs a sync is only a delay."""
    shared = Path("/dev/shm")
    with TemporaryDirectory(dir=shared if os.access(shared, os.W_OK) else None) as name:
        yield Path(name).resolve()


@pytest.fixture
def prove(memory: Path, record_property: Callable[[str, object], None]) -> Run:
    """Run a script of this folder, and return what it saw, all but the violations."""

    def run(name: str, *options: str, preload: Path | None = None) -> dict[str, Any]:
        command = [sys.executable, "-W", "error", "-m", f"tests.faults.{name}", str(memory)]
        environment = {**os.environ, **({"LD_PRELOAD": str(preload)} if preload else {})}
        ended = subprocess.run(
            [*command, *options],
            capture_output=True,
            text=True,
            check=False,
            cwd=ROOT,
            env=environment,
        )
        assert ended.returncode == 0, ended.stderr
        seen: dict[str, Any] = json.loads(ended.stdout)
        assert seen.pop("violations") == []
        record_property("figures", f"{name} {' '.join(options)}: {json.dumps(seen)}")
        return seen

    return run


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the figures."""
    told = [
        value
        for report in terminalreporter.stats.get("passed", ())
        for key, value in report.user_properties
        if key == "figures"
    ]
    if told:
        terminalreporter.section("figures of the proofs")
        for line in told:
            terminalreporter.line(line)
