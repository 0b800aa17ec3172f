"""A real server with a few turns, and a real browser that looks at its console."""

from __future__ import annotations

import json
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from playwright.sync_api import Browser, sync_playwright

HERE = Path(__file__).parent
BIN = HERE.parents[1] / ".venv" / "bin"
COE = BIN / "coe"
CHROMIUM = "/usr/bin/chromium"
ROLES = ("viewer", "operator", "admin")
GROUP = "연구"


SETTINGS = """
[plugins.fallback]
openai = "local"
[plugins.openai]
mispelt = "key"
"""
"""One plugin has a problem, for the page to show."""


class Console(NamedTuple):
    """Where the console is, and a key for each role."""

    url: str
    keys: dict[str, str]
    bold: str
    """The turn in which somebody wrote HTML."""


@pytest.fixture(scope="session")
def console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Console]:
    folder = tmp_path_factory.mktemp("console")
    (folder / "coe.toml").write_text(SETTINGS, encoding="utf-8")
    keys = {
        role: subprocess.check_output(
            [COE, "keys", "create", "--role", role, "--group", GROUP], cwd=folder, text=True
        ).strip()
        for role in ROLES
    }
    subprocess.run([BIN / "python", HERE / "day.py", folder, GROUP], cwd=folder, check=True)
    command = [COE, "serve", "--port", "0"]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            address = server.stdout.readline().split()[-1]
            for text in ("안녕하세요", "Hello", "<b>bold</b>"):
                turn = chat(address, keys["admin"], text)
            yield Console(f"{address}/console", keys, turn)
        finally:
            server.terminate()


def chat(address: str, key: str, text: str) -> str:
    """Ask, and return the turn's id."""
    body = {"model": "auto", "max_tokens": 8, "messages": [{"role": "user", "content": text}]}
    headers = {"content-type": "application/json", "authorization": f"Bearer {key}"}
    url = f"{address}/v1/chat/completions"
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)["id"].removeprefix("chatcmpl-")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def axe() -> str:
    return (HERE / "node_modules" / "axe-core" / "axe.min.js").read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def screenshots() -> Path:
    folder = HERE / "screenshots"
    folder.mkdir(exist_ok=True)
    return folder
