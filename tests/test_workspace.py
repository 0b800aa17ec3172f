"""What keeps the workspace whole: every member is locked, linted and built alike."""

import re
import subprocess
import sys
import tomllib
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import pytest

from coe_core.cli.program import run
from coe_core.testing.contracts.plugin import HEAVY

ROOT = Path(__file__).parents[1]
WORKSPACE = tomllib.loads((ROOT / "pyproject.toml").read_text())
MEMBERS = {path.parent.name: path.parent for path in ROOT.glob("*/coe-*/pyproject.toml")}
LOCKS = {path.stem: path.read_text() for path in (ROOT / "requirements").glob("*.txt")}


def project(folder: Path) -> dict[str, Any]:
    return tomllib.loads((folder / "pyproject.toml").read_text())["project"]


@pytest.mark.parametrize("name", MEMBERS)
class TestMember:
    def test_is_held_by_the_import_rules(self, name: str) -> None:
        assert name.replace("-", "_") in WORKSPACE["tool"]["importlinter"]["root_packages"]
        layers = WORKSPACE["tool"]["importlinter"]["contracts"][0]["layers"]
        assert name.replace("-", "_") in re.findall(r"\w+", layers[0])

    def test_contributes_one_plugin(self, name: str) -> None:
        (plugin,) = distribution(name).entry_points.select(group="coe.plugins")
        assert plugin.value.startswith(f"{name.replace('-', '_')}.plugin:")

    def test_shares_the_core_s_version_and_pythons(self, name: str) -> None:
        ours, core = project(MEMBERS[name]), WORKSPACE["project"]
        assert ours["name"] == name
        assert {ours[key] == core[key] for key in ("version", "requires-python", "license")} == {
            True
        }

    def test_is_documented_typed_and_licensed(self, name: str) -> None:
        folder = MEMBERS[name]
        assert (folder / "README.md").is_file()
        assert (folder / "src" / name.replace("-", "_") / "py.typed").is_file()
        assert (folder / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()


@pytest.mark.parametrize("name", LOCKS)
class TestLock:
    def test_names_no_place(self, name: str) -> None:
        """An index's address or a path would tie the lock to the machine that made it."""
        assert not re.search(r"(?m)://|^-|file:|\s/", LOCKS[name])

    def test_pins_every_line_with_hashes(self, name: str) -> None:
        pins = re.findall(r"(?m)^\S+==\S+.*(?:\n .*)+", LOCKS[name])
        assert len(pins) == len(re.findall(r"(?m)^\w", LOCKS[name])) > 0
        assert all("--hash=sha256:" in pin for pin in pins)


def test_an_older_python_is_told_so_in_one_line() -> None:
    script = "import runpy, sys; sys.version_info = (3, 10, 13); runpy.run_path('noxfile.py')"
    ended = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 1
    assert ended.stderr == "CoE needs Python 3.11, 3.12 or 3.13: run this file with one of them\n"


def test_help_imports_nothing_heavy_and_no_plugin_s_command() -> None:
    """Help is asked for often, and waits for every plugin that is installed."""
    help_ = "import atexit, sys; from coe_core.cli import main; sys.argv[1:] = ['--help']; "
    look = "atexit.register(lambda: print(*sys.modules, file=sys.stderr)); main()"
    seen = subprocess.run(
        [sys.executable, "-c", help_ + look], capture_output=True, text=True, check=True
    )
    assert "serve" in seen.stdout
    imported = set(seen.stderr.split())
    assert "coe_server.plugin" in imported
    assert imported & {*HEAVY, "alembic", "jsonschema_rs"} == set()
    assert [name for name in imported if re.fullmatch(r"coe_(?!core).*command", name)] == []


def test_dev_lock_agrees_with_the_standard_one() -> None:
    def pins(name: str) -> set[str]:
        return set(re.findall(r"(?m)^\w\S+==[^\\]+", LOCKS[name]))

    assert pins("standard") <= pins("dev")


def test_the_models_in_the_file_that_init_writes_are_the_workspaces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["init"]) == 0
    file = tmp_path / "coe.toml"
    # A line "#key =" has no default to show; what is text begins with "# ".
    file.write_text(re.sub(r"^#(?=\S)(?!.*=$)", "", file.read_text(), flags=re.MULTILINE))
    assert run(["config", "validate"]) == 0, capsys.readouterr().err


@pytest.mark.parametrize(
    ("ci", "outcome"), [("true", "1 failed, 1 xfailed, 1 error"), ("", "2 skipped, 1 xfailed")]
)
def test_skip_fails_under_ci_alone(
    ci: str, outcome: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "conftest.py").write_text((ROOT / "conftest.py").read_text())
    (tmp_path / "pytest.toml").touch()
    (tmp_path / "test_one.py").write_text(
        "import pytest\n"
        "def test_skips(): pytest.skip('no database')\n"
        "@pytest.mark.skipif(True, reason='no browser')\n"
        "def test_is_marked(): pass\n"
        "@pytest.mark.xfail(reason='known')\n"
        "def test_is_expected(): raise ValueError\n"
    )
    monkeypatch.setenv("CI", ci)
    pytest_here = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider"]
    ended = subprocess.run(pytest_here, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert outcome in ended.stdout
