from pathlib import Path

import pytest
from coe_models_litellm import release
from coe_models_litellm.plugin import LiteLLMPlugin, Settings
from coe_models_litellm.startup import StartupCheck, site_folders, strangers

from coe_core.error import StartRefused


@pytest.mark.parametrize(
    ("version", "ok"),
    [
        ("1.84.0", True),
        ("1.106.2", True),
        ("1.108.0", True),
        ("2.0.0", True),
        ("1.83.9", False),
        ("1.9.0", False),
        ("0.99", False),
        ("1.82.7", False),
        ("1.82.8", False),
        ("1.107.0", False),
        ("1.107.1", False),
        ("1.107", False),
        (None, False),
    ],
)
def test_releases(version: str | None, *, ok: bool) -> None:
    finding = release.finding(version)
    assert finding.ok is ok
    assert ok or "litellm>=1.84,!=1.107.*" in finding.mend


@pytest.mark.parametrize("version", ["1.82.7", "1.82.8", "1.107.0"])
def test_malware_is_called_that(version: str) -> None:
    finding = release.finding(version)
    assert "malware" in finding.text
    assert "change every secret" in finding.mend


def test_a_bad_release_is_a_problem_of_the_plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    plugin = LiteLLMPlugin(Settings())
    monkeypatch.setattr(release, "installed", lambda: "1.82.8")
    with pytest.raises(StartRefused, match=r"1\.82\.8 is one of the releases that carried malware"):
        plugin.coe_model_providers(None)  # type: ignore[arg-type]
    checks = plugin.coe_checks(None)  # type: ignore[arg-type]
    assert [check.name for check in checks] == ["litellm-release", "startup-files"]


SETUPTOOLS = (
    "import os; var = 'SETUPTOOLS_USE_DISTUTILS'; enabled = os.environ.get(var, 'local') =="
    " 'local'; enabled and __import__('_distutils_hack'); "
)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("paths.pth", "/somewhere/src\n# a comment\nimportant/\n"),
        ("_virtualenv.pth", "import _virtualenv"),
        ("distutils-precedence.pth", SETUPTOOLS),
        ("__editable__.x-1.pth", "import __editable___x_finder; __editable___x_finder.install()\n"),
        ("_editable_impl_x.pth", "import _editable_impl_x"),
        ("notes.txt", "import os"),
    ],
)
async def test_files_that_are_known(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    assert strangers([tmp_path]) == []
    assert (await StartupCheck(folders=(tmp_path,)).check()).ok


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("litellm_init.pth", "import os, subprocess; subprocess.Popen(['x'])"),
        ("_virtualenv.pth", "import _virtualenv; exec('1')"),
        ("distutils-precedence.pth", SETUPTOOLS + "exec('1')"),
        ("paths.pth", "/somewhere/src\nimport\tevil\n"),
        ("bytes.pth", "\ufeffimport evil"),
        ("sitecustomize.py", ""),
        ("usercustomize", ""),
    ],
)
async def test_files_that_are_not(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    assert strangers([tmp_path]) == [tmp_path / name]
    finding = await StartupCheck(folders=(tmp_path, tmp_path / "absent")).check()
    assert not finding.ok
    assert name in finding.text


def test_the_folders_are_those_that_python_reads() -> None:
    assert Path(pytest.__file__).parents[1] in site_folders()
