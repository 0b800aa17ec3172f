"""`coe plugins new`: every kind is whole, and passes its contract as it is written."""

import subprocess
import sys
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from coe_core.compose import CONTRACTS
from coe_core.error import Conflict, InvalidField
from coe_core.scaffold import KINDS, write_plugin
from coe_core.testing import Contract

pytest_plugins = ["pytester"]

SINGULAR = {"attempt_policies": "attempt_policy", "promotion_policies": "promotion_policy"}


def test_every_extension_point_has_a_kind() -> None:
    extension_points = {SINGULAR.get(kind, kind.removesuffix("s")) for kind in CONTRACTS}
    assert KINDS.keys() == extension_points | {"knowledge_index"}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("written")
    for kind in KINDS:
        write_plugin(f"my-{kind.replace('_', '-')}", kind, folder)
    return folder


@pytest.mark.parametrize("kind", KINDS)
class TestWrittenPlugin:
    def test_passes_its_contract(
        self,
        written: Path,
        kind: str,
        pytester: pytest.Pytester,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(Contract, "examples", 3)
        folder = written / f"coe-my-{kind.replace('_', '-')}"
        result = pytester.runpytest_inprocess(
            *("--rootdir", folder, "-c", folder / "pyproject.toml", folder / "tests"),
            *("-p", "no:cacheprovider", "-q", "-W", "error", "--import-mode=importlib"),
        )
        outcomes = result.parseoutcomes()
        assert set(outcomes) == {"passed"}
        assert outcomes["passed"] > len(("component", "plugin")) * 2

    def test_is_a_distribution(self, written: Path, kind: str) -> None:
        name = f"my-{kind.replace('_', '-')}"
        project = tomllib.loads((written / f"coe-{name}" / "pyproject.toml").read_text())["project"]
        assert project["name"] == f"coe-{name}"
        assert project["dependencies"] == ["coe-core>=0.1,<0.2"]
        value = EntryPoint(name, project["entry-points"]["coe.plugins"][name], "coe.plugins").value
        package, _, plugin = value.partition(".plugin:")
        module = written / f"coe-{name}" / "src" / package / "plugin.py"
        assert f"class {plugin}:" in module.read_text()

    def test_says_nothing_of_the_template(self, written: Path, kind: str) -> None:
        for path in (written / f"coe-my-{kind.replace('_', '-')}").rglob("*.*"):
            if path.is_file() and path.suffix != ".pyc":
                assert "xample" not in path.read_text()
                assert "$" not in path.read_text()


def test_written_plugins_keep_the_house_style(written: Path) -> None:
    configured = ["--config", str(Path(__file__).parents[2] / "pyproject.toml"), "--no-cache"]
    ignored = ["--ignore", "ANN,ARG002,D1,I001,INP,RUF012"]
    ruff = [sys.executable, "-m", "ruff", "check", *configured, *ignored, str(written)]
    seen = subprocess.run(ruff, capture_output=True, text=True, check=False)
    assert seen.returncode == 0, seen.stdout


class TestRefusal:
    @pytest.mark.parametrize("name", ["", "1st", "My", "a b", "a--b", "-a", "a_b", "a" * 41, "ä"])
    def test_of_a_name_that_will_not_do(self, name: str, tmp_path: Path) -> None:
        with pytest.raises(InvalidField, match="is no name for a plugin: take lower-case"):
            write_plugin(name, "router", tmp_path)
        assert list(tmp_path.iterdir()) == []

    def test_of_an_unknown_kind(self, tmp_path: Path) -> None:
        with pytest.raises(InvalidField, match=r"no kind 'ruoter' among agent, .*'router'\?"):
            write_plugin("mine", "ruoter", tmp_path)

    def test_of_a_folder_that_is_there(self, tmp_path: Path) -> None:
        write_plugin("mine", "router", tmp_path)
        with pytest.raises(Conflict, match="coe-mine is there already"):
            write_plugin("coe-mine", "tool", tmp_path)

    def test_of_a_name_that_is_taken(self, tmp_path: Path) -> None:
        with pytest.raises(Conflict, match="coe-core is installed already"):
            write_plugin("core", "router", tmp_path)
        assert list(tmp_path.iterdir()) == []
