"""The Dockerfile, as far as a machine without Docker's engine can check it."""

import json
import os
import re
import shutil
import subprocess
import tomllib
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from .dockerfile import Stage, stages

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
BUILD, RUNTIME = stages(DEPLOY / "Dockerfile")


def test_takes_nothing_from_an_unnamed_place() -> None:
    text = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    assert {BUILD.image, RUNTIME.image} == {"python:${PYTHON}-slim"}
    assert not re.findall(r"https?://(?!127\.0\.0\.1)", text)
    assert not BUILD.all("ADD") + RUNTIME.all("ADD")


def test_copies_only_what_is_there_and_not_ignored() -> None:
    ignore = (DEPLOY / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    let_through = {line.removeprefix("!") for line in ignore if line.startswith("!")}
    for step in BUILD.all("COPY"):
        for source in step.arguments[:-1]:
            assert (ROOT / source).exists(), source
            assert source.split("/")[0] in let_through, source
    assert [step.text for step in RUNTIME.all("COPY")] == ["--from=build /opt/coe /opt/coe"]


def test_installs_by_hash_and_every_standard_member() -> None:
    locked, members = (step for step in BUILD.all("RUN") if step.text.startswith("pip"))
    assert "--require-hashes" in locked.arguments
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    standard = [
        f"./plugins/{requirement.partition('>=')[0]}"
        for requirement in project["optional-dependencies"]["standard"]
    ]
    assert [part for part in members.arguments if part.startswith(".")] == [".", *standard]
    assert {"--no-deps", "--no-build-isolation"} <= set(members.arguments)


def test_runs_as_a_user_that_owns_its_data_alone() -> None:
    user = RUNTIME.last("USER").text
    assert user != "root"
    assert f"--home-dir {RUNTIME.last('VOLUME').text} --create-home {user}" in " ".join(
        step.text for step in RUNTIME.all("RUN")
    )
    assert RUNTIME.environment["COE_COE__DATA_DIR"] == RUNTIME.last("VOLUME").text


def test_is_watched_and_stops_by_draining() -> None:
    assert "http://127.0.0.1:8420/healthz" in RUNTIME.last("HEALTHCHECK").text
    assert RUNTIME.last("EXPOSE").text == "8420"
    assert RUNTIME.last("STOPSIGNAL").text == "SIGTERM"
    assert RUNTIME.last("ENTRYPOINT").arguments + RUNTIME.last("CMD").arguments == ["coe", "serve"]


@pytest.mark.network
def test_builds_and_answers_outside_docker(tmp_path: Path, unused_tcp_port: int) -> None:
    """The image's own commands, in a folder that stands for its file system."""
    machine = Machine(tmp_path, unused_tcp_port)
    for step in BUILD.steps:
        if step.word == "COPY":
            machine.copy(step.arguments)
        elif step.word == "RUN" and "apt-get" not in step.text:
            machine.run(step.text, BUILD)
    machine.run("coe keys create --role admin", RUNTIME)
    with machine.serve():
        machine.run(RUNTIME.last("HEALTHCHECK").text.partition(" CMD ")[2], RUNTIME)


class Machine:
    """A folder with the image's paths in it."""

    def __init__(self, root: Path, port: int) -> None:
        self.root, self.port = root, port
        self.workdir = root / "src"
        self.data = root / "var" / "lib" / "coe"
        self.data.mkdir(parents=True)

    def copy(self, arguments: list[str]) -> None:
        *sources, target = arguments
        folder = self.workdir / target
        for source in sources:
            if (ROOT / source).is_dir():
                ignore = shutil.ignore_patterns("__pycache__", "tests")
                shutil.copytree(ROOT / source, folder, ignore=ignore)
            else:
                folder.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / source, folder)

    def run(self, command: str, stage: Stage) -> None:
        subprocess.run(self.words(command), env=self.environment(stage), cwd=self.cwd, check=True)

    @contextmanager
    def serve(self) -> Iterator[None]:
        command = RUNTIME.last("ENTRYPOINT").arguments + RUNTIME.last("CMD").arguments
        with subprocess.Popen(
            command, env=self.environment(RUNTIME), cwd=self.data, stdout=subprocess.PIPE, text=True
        ) as server:
            try:
                assert server.stdout is not None
                assert "CoE serves on" in server.stdout.readline()
                address = f"http://127.0.0.1:{self.port}/readyz"
                with urllib.request.urlopen(address, timeout=5) as response:
                    assert response.status == 200
                yield
                server.terminate()
                assert server.wait(40) == 0
            finally:
                server.kill()

    @property
    def cwd(self) -> Path:
        return self.workdir if self.workdir.exists() else self.root

    def words(self, command: str) -> list[str]:
        if command.startswith("["):
            return [self.placed(word) for word in json.loads(command)]
        return ["bash", "-ec", self.placed(command)]

    def environment(self, stage: Stage) -> dict[str, str]:
        own = {name: self.placed(value) for name, value in stage.environment.items()}
        inherited = {name: v for name, v in os.environ.items() if not name.startswith("COE_")}
        own["PATH"] = own["PATH"].replace("$PATH", os.environ["PATH"])
        if stage is RUNTIME:
            own["COE_PLUGINS__SERVER__PORT"] = str(self.port)
        return {**inherited, "COE_MODELS_DIR": self.placed("/opt/coe/models"), **own}

    def placed(self, text: str) -> str:
        text = re.sub(r"/(opt|var/lib)/coe", lambda m: f"{self.root}{m[0]}", text)
        return text.replace(":8420", f":{self.port}")
