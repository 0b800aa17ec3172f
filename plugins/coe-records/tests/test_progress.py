"""Whoever waits at a terminal sees how far the work is; who reads its output gets nothing else."""

import json
import os
import pty
import re
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import pytest
from click import Command, Context, unstyle
from click.testing import Result
from coe_records.command import records_command
from coe_records.folder import DataFolder
from coe_records.settings import Settings
from coe_records.writer import Draft, Writer

from coe_core.cli import Frame
from coe_core.codec import encode
from coe_core.record import Interaction
from coe_core.settings import Secret

Run = Callable[..., Result]
Prepare = Callable[[DataFolder], list[str]]


def _import(folder: DataFolder) -> list[str]:
    path = folder.path / "history.jsonl"
    path.write_bytes(encode({"messages": [{"role": "user", "content": "Hi"}]}) + b"\n")
    return ["import", str(path), "--group", "research"]


def _repair(folder: DataFolder) -> list[str]:
    with closing(folder.tables.connect()) as sql:
        sql.execute("UPDATE interactions SET status = 'failed'")
    return ["repair"]


WORK: dict[str, tuple[Prepare, set[str]]] = {
    "verify": (lambda _: ["verify"], {"verifying"}),
    "repair": (_repair, {"verifying", "rebuilding"}),
    "rebuild": (lambda _: ["rebuild"], {"rebuilding"}),
    "import": (_import, {"importing"}),
    "export": (lambda folder: ["export", f"{folder.path}/out.jsonl"], {"exporting"}),
    "backup": (lambda folder: ["backup", f"{folder.path}/saved"], {"copying files", "verifying"}),
}
"""Each command, and the stages of its work."""
DONE = re.compile(r"([a-z ]+)  \[#+\]  100%")


@pytest.fixture(autouse=True)
def turns(
    folder: DataFolder, open_writer: Callable[..., Writer], make_turn: Callable[..., Interaction]
) -> None:
    writer = open_writer(folder)
    writer.commit([Draft.of(make_turn(n)) for n in range(3)])
    writer.close()


@pytest.fixture
def at_terminal(
    monkeypatch: pytest.MonkeyPatch, secret: Callable[[DataFolder], Secret | None]
) -> Callable[..., str]:
    """Run `coe records` with a terminal for its errors; return what that shows."""

    def run(folder: DataFolder, *arguments: str) -> str:
        screen, terminal = pty.openpty()
        with os.fdopen(terminal, "w") as stderr:
            monkeypatch.setattr("sys.stderr", stderr)
            parent = Context(Command("coe"), obj=Frame(given_data_dir=folder.path))
            command = records_command(Settings(database=secret(folder)))
            assert not command.main(list(arguments), parent=parent, standalone_mode=False)
        shown = bytearray()
        with os.fdopen(screen, "rb", 0) as file, suppress(OSError):  # EIO, once all is read.
            while more := file.read(1 << 16):
                shown += more
        return unstyle(shown.decode())

    return run


@pytest.mark.parametrize("name", WORK)
def test_is_shown_at_a_terminal(
    folder: DataFolder, name: str, at_terminal: Callable[..., str]
) -> None:
    prepare, stages = WORK[name]
    shown = at_terminal(folder, *prepare(folder))
    assert set(DONE.findall(shown)) >= stages


@pytest.mark.parametrize("name", WORK)
def test_is_not_in_a_pipe(folder: DataFolder, name: str, coe_records: Run) -> None:
    result = coe_records(folder, *WORK[name][0](folder), "--json")
    assert (result.exit_code, result.stderr) == (0, ""), result.exception
    assert isinstance(json.loads(result.stdout), dict)


def test_of_a_restored_backup_is_shown(
    folder: DataFolder, tmp_path: Path, at_terminal: Callable[..., str], coe_records: Run
) -> None:
    saved, new = str(tmp_path / "saved"), DataFolder(tmp_path / "new")
    coe_records(folder, "backup", saved)
    shown = at_terminal(new, "restore", saved)
    assert set(DONE.findall(shown)) >= {"copying files", "verifying"}
