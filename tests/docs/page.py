"""A page of the documentation, and a reader who does all that it says.

What is done is told by a fence's first word: `console` has commands after `$ `, each with the
output below it, where `...` stands for anything; `python` is run, and a `text` fence right after it
is what it prints; `toml` must be settings. `title="FILE"` makes any of them a file that the reader
writes. `sh`, `py` and `json` are to be read only.
"""

from __future__ import annotations

import os
import queue
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Self

from attrs import define, field, frozen
from markdown_it import MarkdownIt

LANGUAGES = frozenset({"console", "json", "py", "python", "sh", "text", "toml", ""})
PATIENCE_S = 60.0
ENDED = "\x04"


@frozen
class Fence:
    """A fenced block."""

    language: str
    title: str | None
    text: str
    line: int


def fences(path: Path) -> list[Fence]:
    """Read a page's fences."""
    found = []
    for token in MarkdownIt().parse(path.read_text(encoding="utf-8")):
        if token.type == "fence" and token.map is not None:
            title = re.search(r'title="([^"]+)"', token.info)
            language = token.info.split(" ")[0]
            found.append(
                Fence(language, title and title[1], token.content, token.map[0] + 1)  # type: ignore[arg-type]
            )
    return found


@frozen
class Command:
    """A command, and what it prints."""

    text: str
    output: str
    line: int

    @property
    def runs_on(self) -> bool:
        """Whether the reader goes on while it runs."""
        return self.text.endswith("&")


def commands(fence: Fence) -> Iterator[Command]:
    """Take a console fence apart."""
    for part in re.split(r"(?m)^\$ ", fence.text)[1:]:
        lines = part.split("\n")
        length = 1
        while goes_on("\n".join(lines[:length])):
            length += 1
        output = "\n".join(lines[length:]).strip("\n")
        yield Command("\n".join(lines[:length]), output, fence.line)


def goes_on(command: str) -> bool:
    """Tell whether a shell would wait for another line."""
    try:
        shlex.split(command)
    except ValueError:  # A quotation is open, or the last letter quotes the newline.
        return True
    return command.endswith("\\")


def fits(expected: str, printed: str) -> bool:
    """Compare; `...` stands for anything, other lines too, and one space for several."""
    pattern = r"(?s:.*?)".join(map(re.escape, _plain(expected).split("...")))
    return re.fullmatch(pattern, _plain(printed)) is not None


def _plain(text: str) -> str:
    return "\n".join(re.sub(r"[ \t]+", " ", line).rstrip() for line in text.strip().splitlines())


@define
class Reader:
    """Sits in a folder at a shell. `ports` are those of the page, each to the one that is free."""

    folder: Path
    environment: Mapping[str, str] = field(factory=dict)
    ports: Mapping[int, int] = field(factory=dict)
    _shell: subprocess.Popen[str] | None = field(default=None, init=False)
    _is_waiting: bool = field(default=False, init=False)
    _listener: threading.Thread = field(init=False)
    _lines: queue.Queue[str] = field(factory=queue.Queue, init=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """End the shell, and whatever still runs in the background."""
        if self._shell is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._shell.pid, signal.SIGTERM)
            self._shell.wait(PATIENCE_S)
            self._listener.join(PATIENCE_S)
            for pipe in (self._shell.stdin, self._shell.stdout):
                assert pipe is not None
                pipe.close()

    def follow(self, page: Path) -> None:
        """Do what the page says, from top to bottom."""
        printed: str | None = None
        for fence in fences(page):
            where = f"{page.name}:{fence.line}"
            assert fence.language in LANGUAGES, f"{where}: no fence is called {fence.language!r}"
            if fence.title is not None:
                self.write(fence)
            elif fence.language == "console":
                for command in commands(fence):
                    self.type(command, where)
            elif fence.language == "text" and printed is not None:
                assert fits(fence.text, printed), f"{where}: it printed\n{printed}"
            elif fence.language == "toml":
                self.load(fence, where)
            printed = self.run(fence, where) if fence.language == "python" else None

    def write(self, fence: Fence) -> None:
        """Write a file."""
        path = self.folder / str(fence.title)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self._translated(fence.text), encoding="utf-8")

    def run(self, fence: Fence, where: str) -> str:
        """Run a program, and return what it prints. One with a title was only written."""
        if fence.title is not None:
            return ""
        command = [sys.executable, "-W", "error", "-c", self._translated(fence.text)]
        process = subprocess.run(
            command, cwd=self.folder, env=self._env, capture_output=True, text=True, check=False
        )
        assert process.returncode == 0, f"{where}: {process.stderr}"
        return process.stdout

    def load(self, fence: Fence, where: str) -> None:
        """See whether a fence is good as settings, for the plugins too."""
        path = self.folder / "fence.toml"
        path.write_text(fence.text, encoding="utf-8")
        command = ["coe", "config", "validate", "--config", str(path)]
        process = subprocess.run(
            command, cwd=self.folder, env=self._env, capture_output=True, text=True, check=False
        )
        assert process.returncode == 0, f"{where}: {process.stderr}"

    def type(self, command: Command, where: str) -> None:
        """Type a command, and compare what it prints. Where the page says `sleep`, a reader on a
        busy machine tries what follows again until it is so.
        """
        expected = self._translated(command.output)
        deadline_s = time.monotonic() + (PATIENCE_S if self._is_waiting else 0)
        self._is_waiting = command.text.startswith("sleep ")
        while True:
            printed, status = self._typed(command, expected)
            if status == "0" and (not expected or fits(expected, printed)):
                return
            told = f"{where}: {command.text}\nprinted\n{printed}"
            assert time.monotonic() < deadline_s, told

    def _typed(self, command: Command, expected: str) -> tuple[str, str]:
        if self._shell is None:
            self._open()
        text = self._translated(command.text)
        if command.runs_on:
            # What it logs goes elsewhere: on a slow machine it would come amid what others print.
            elsewhere = "" if "2>" in text else f" 2>> {self._remarks}"
            self._send(f"{text.removesuffix('&')}{elsewhere} &")
            return self._until_printed(expected), "0"
        self._send(text)
        self._send(f"printf '\\n{ENDED}%s\\n' $?")
        return self._until_ended()

    @property
    def _remarks(self) -> Path:
        """Where what runs in the background logs, unless the page says otherwise."""
        return self.folder.with_suffix(".remarks")

    @property
    def _env(self) -> dict[str, str]:
        kept = {name: v for name, v in os.environ.items() if not name.startswith("COE_")}
        own = {"COLUMNS": "100", "LC_ALL": "C.UTF-8", "PYTHONUNBUFFERED": "1"}
        return {**kept, **own, **self.environment}

    def _open(self) -> None:
        self._shell = subprocess.Popen(
            ["bash", "--norc"],
            cwd=self.folder,
            env=self._env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._listener = threading.Thread(target=self._listen, args=[self._shell])
        self._listener.start()

    def _listen(self, shell: subprocess.Popen[str]) -> None:
        assert shell.stdout is not None
        for line in shell.stdout:
            self._lines.put(line)

    def _send(self, line: str) -> None:
        assert self._shell is not None
        assert self._shell.stdin is not None
        self._shell.stdin.write(f"{line}\n")
        self._shell.stdin.flush()

    def _until_ended(self) -> tuple[str, str]:
        printed = []
        while not (line := self._next(printed)).startswith(ENDED):
            printed.append(line)
        return "".join(printed), line[1:].strip()

    def _until_printed(self, expected: str) -> str:
        printed: list[str] = []
        while not fits(expected, "".join(printed)):
            printed.append(self._next(printed))
        return "".join(printed)

    def _next(self, printed: list[str]) -> str:
        try:
            return self._lines.get(timeout=PATIENCE_S)
        except queue.Empty:
            logged = self._remarks.read_text() if self._remarks.exists() else ""
            raise AssertionError(
                f"nothing more came after\n{''.join(printed)}\nlogged:\n{logged}"
            ) from None

    def _translated(self, text: str) -> str:
        for port, free in self.ports.items():
            text = text.replace(str(port), str(free))
        return text
