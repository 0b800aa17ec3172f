"""A stranger follows each tutorial, outside the repository, with wheels that were built here."""

import os
import shutil
import site
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path

import pytest

from .conftest import ROOT
from .page import Reader
from .test_pages import TUTORIALS, name

NOT_SHARED = ("coe", "_coe", "__editable__", "_editable", "pip", "_virtualenv", "schemathesis")
"""What is ours, what each environment has of its own, and a pytest plugin that is slow to load."""


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel of each distribution that the tutorials install."""
    folder = tmp_path_factory.mktemp("wheels")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    standard = project["optional-dependencies"]["standard"]
    members = [
        ROOT,
        *(ROOT / "plugins" / requirement.partition(">=")[0] for requirement in standard),
    ]
    builds = [
        subprocess.Popen(
            [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
            cwd=member,
            stdout=subprocess.DEVNULL,
        )
        for member in members
    ]
    assert [build.wait() for build in builds] == [0] * len(members)
    return folder


@pytest.fixture
def others(tmp_path: Path) -> Path:
    """What else is installed here, for a reader without a network: all that is not ours."""
    folder = tmp_path / "others"
    folder.mkdir()
    for entry in Path(site.getsitepackages()[0]).iterdir():
        if not entry.name.startswith(NOT_SHARED):
            (folder / entry.name).symlink_to(entry)
    return folder


@pytest.fixture
def stranger(
    tmp_path: Path, wheels: Path, sockets: Path, free_port: int, models: Path
) -> Mapping[str, str]:
    """The environment of somebody who has a Python, and the wheels."""
    shutil.copytree(models, tmp_path / "models")
    return {
        "PATH": f"{Path(sys.base_prefix) / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "COE_WHEELS": str(wheels),
        "COE_MODELS_DIR": str(tmp_path / "models"),
        "COE_PLUGINS__SERVER__PORT": str(free_port),
        "XDG_RUNTIME_DIR": str(sockets),
    }


@pytest.mark.parametrize("page", TUTORIALS, ids=name)
def test_tutorial_can_be_followed(
    page: Path, stranger: Mapping[str, str], others: Path, tmp_path: Path, free_port: int
) -> None:
    offline = {"PYTHONPATH": str(others), "PIP_NO_INDEX": "1", "PIP_NO_BUILD_ISOLATION": "0"}
    follow(page, tmp_path, {**stranger, **offline}, free_port)


@pytest.mark.network
@pytest.mark.parametrize("page", TUTORIALS, ids=name)
def test_tutorial_can_be_followed_from_nothing(
    page: Path, stranger: Mapping[str, str], tmp_path: Path, free_port: int
) -> None:
    """As above, with all that pip itself brings, and the model fetched."""
    shutil.rmtree(tmp_path / "models")
    follow(page, tmp_path, stranger, free_port)


def follow(page: Path, folder: Path, environment: Mapping[str, str], port: int) -> None:
    (folder / "outside").mkdir()
    with Reader(folder / "outside", environment, {8420: port}) as reader:
        reader.follow(page)
