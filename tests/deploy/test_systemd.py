"""The systemd unit, checked by systemd itself."""

import configparser
import re
import shutil
import subprocess
from pathlib import Path

import pytest

DEPLOY = Path(__file__).parents[2] / "deploy"
UNIT = DEPLOY / "coe.service"


def option(name: str) -> str:
    parser = configparser.RawConfigParser(strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(UNIT, encoding="utf-8")
    return parser["Service"][name]


@pytest.fixture
def analyze() -> str:
    if (found := shutil.which("systemd-analyze")) is None:
        pytest.skip("systemd-analyze is not installed")
    return found


def test_systemd_accepts_it(analyze: str, tmp_path: Path) -> None:
    # It also looks for the program, which is installed only where the unit is.
    text = re.sub(r"(?m)^ExecStart=\S+", "ExecStart=/bin/true", UNIT.read_text(encoding="utf-8"))
    (tmp_path / UNIT.name).write_text(text, encoding="utf-8")
    command = [analyze, "verify", "--man=no", str(tmp_path / UNIT.name)]
    verified = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (verified.returncode, verified.stderr) == (0, "")


def test_is_shut_off_from_the_machine(analyze: str) -> None:
    """`systemd-analyze security` rates from 0, shut off, to 10; below 2 is "OK"."""
    command = [analyze, "security", "--offline=true", "--threshold=20", "--no-pager", str(UNIT)]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0


def test_lets_turns_end_before_it_kills() -> None:
    from coe_server.settings import Settings

    assert int(option("TimeoutStopSec")) > Settings().drain_timeout_s


def test_does_not_try_again_what_cannot_work() -> None:
    assert option("RestartPreventExitStatus") == "2"


def test_installation_puts_the_files_where_it_looks() -> None:
    readme = (DEPLOY / "README.md").read_text(encoding="utf-8")
    program, *arguments = option("ExecStart").split()
    assert str(Path(program).parent.parent) in readme
    assert arguments == ["serve", "--config", "/etc/coe/coe.toml", "--data", "/var/lib/coe"]
    assert "deploy/coe.toml /etc/coe/coe.toml" in readme
    assert f"deploy/{UNIT.name} /etc/systemd/system/{UNIT.name}" in readme
