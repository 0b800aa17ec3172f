"""`coe doctor`: each thing that can be wrong is found, with its mend."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from coe_core.cli.doctor import data_folder, packages, start_files
from coe_core.codec import decode

Coe = Callable[..., Any]


def found(coe: Coe, settings: str = "") -> dict[str, Any]:
    printed = coe("doctor", "--json", settings=settings)
    return {finding["name"]: finding for finding in decode(printed.out)}


def test_it_looks_at_everything_and_the_plugins_own_checks(coe: Coe) -> None:
    findings = found(coe, '[routing]\ndefault = "parrot"\n')
    names = {"python", "packages", "start files", "settings", "secrets", "data folder", "disk"}
    assert names | {"journal", "parrot-health"} <= findings.keys()
    assert all(findings[name]["ok"] for name in names | {"parrot-health"})


def test_what_is_wrong_is_said_with_its_mend_and_ends_with_1(coe: Coe) -> None:
    printed = coe("doctor", settings="[plugins.parrot]\nwell = false\n")
    assert printed.code == 1
    assert "WRONG  parrot-health: the parrot was looked at\n       -> Feed it.\n" in printed.out


def test_settings_that_are_wrong(coe: Coe) -> None:
    findings = found(coe, "[plugins.parrot]\nwel = false\n")
    assert "coe.toml:2" in findings["settings"]["text"]
    assert not findings["settings"]["ok"]
    assert "coe config validate" in findings["settings"]["mend"]


def test_a_secret_that_is_not_there(coe: Coe, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = '[plugins.parrot]\ntoken = "env:TOKEN_OF_THE_PARROT"\n'
    findings = found(coe, settings)
    assert not findings["secrets"]["ok"]
    assert (
        "plugins.parrot.token: the environment variable TOKEN_OF_THE_PARROT is not set"
        in (findings["secrets"]["text"])
    )
    monkeypatch.setenv("TOKEN_OF_THE_PARROT", "polly")
    assert found(coe, settings)["secrets"]["ok"]


def test_a_data_folder_that_cannot_be_used(coe: Coe, folder: Path) -> None:
    (folder / "coe-data").write_text("a file")
    findings = found(coe)
    assert not findings["data folder"]["ok"]
    assert not findings["start"]["ok"]
    assert data_folder(folder / "to" / "be" / "made").ok


def test_a_plugin_that_is_required_and_broken(coe: Coe) -> None:
    settings = '[coe]\nrequired_plugins = ["parrot"]\n[plugins.parrot]\nwel = false\n'
    assert "required plugin" in found(coe, settings)["start"]["text"]


@pytest.mark.parametrize("version", ["1.82.7", "1.82.8", "1.107.0", "1.107.3", "1.83.14", "0.9"])
def test_versions_that_are_known_to_be_bad(version: str) -> None:
    finding = packages({"litellm": version})
    assert not finding.ok
    assert "litellm>=1.84,!=1.107.*" in finding.mend


@pytest.mark.parametrize("version", ["1.84.0", "1.106.2", "1.108.0", "2.0"])
def test_versions_that_are_good(version: str) -> None:
    assert packages({"litellm": version}).ok


def test_files_that_run_when_python_starts(tmp_path: Path) -> None:
    (tmp_path / "paths.pth").write_text("/some/folder\n# import nothing\n")
    (tmp_path / "_virtualenv.pth").write_text("import _virtualenv\n")
    assert start_files([tmp_path]).ok
    (tmp_path / "litellm_init.pth").write_bytes(b"\xff\nimport os; os.system('true')\n")
    assert "litellm_init.pth" in start_files([tmp_path]).text
    (tmp_path / "litellm_init.pth").unlink()
    (tmp_path / "sitecustomize.py").write_text("")
    assert "sitecustomize.py" in start_files([tmp_path]).text
