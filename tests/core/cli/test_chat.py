"""`coe chat`: piped, in a terminal, interrupted, and over the wire."""

import asyncio
import io
import os
import pty
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from coe_core.cli.remote import RemoteConversation, endpoint
from coe_core.error import InvalidField, UpstreamCut, UpstreamError, UpstreamUnreachable
from coe_core.testing.upstream import Script, Upstream

Coe = Callable[..., Any]

SETTINGS = '[routing]\ndefault = "parrot"\n'
COE = [sys.executable, "-c", "from coe_core.cli import main; main()"]
UNTIL_S = 20.0


@pytest.fixture
def say(coe: Coe, monkeypatch: pytest.MonkeyPatch) -> Coe:
    """Pipe a text into `coe chat`."""

    def said(text: str, *arguments: str) -> Any:
        monkeypatch.setattr("sys.stdin", io.StringIO(text))
        return coe("chat", *arguments, settings=SETTINGS)

    return said


def test_what_is_piped_in_is_one_question(say: Coe) -> None:
    printed = say("안녕\n세상\n")
    assert (printed.code, printed.out) == (0, "1 안녕\n세상\n")


def test_nothing_piped_in_is_no_question(say: Coe) -> None:
    printed = say(" \n")
    assert (printed.code, printed.out) == (0, "")


def test_a_model_may_be_named(say: Coe) -> None:
    assert say("hi", "--model", "parrot").out == "1 hi\n"
    printed = say("hi", "--model", "parot")
    assert printed.code == 1
    assert printed.err.startswith("error: there is no model 'parot'; did you mean 'parrot'?")
    assert len(printed.err.splitlines()) == 1


def test_a_failure_is_one_line(say: Coe) -> None:
    printed = say("fail")
    assert printed.code == 1
    assert printed.err.splitlines()[-1].startswith("error: the parrot is asleep")


def test_a_key_is_for_a_server(say: Coe) -> None:
    assert "--key goes with --url" in say("hi", "--key", "env:X").err
    refused = say("hi", "--url", "http://127.0.0.1:9", "--key", "in the open")
    assert "env:NAME or file:PATH" in refused.err


class Terminal:
    """`coe chat` in a terminal of its own."""

    def __init__(self, folder: Path) -> None:
        self.mine, theirs = pty.openpty()
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(sys.path),
            "LC_ALL": "C.UTF-8",
            "TERM": "dumb",
        }
        self.process = subprocess.Popen(
            [*COE, "chat"],
            cwd=folder,
            env=environment,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)
        self.seen = ""

    def until(self, text: str) -> None:
        """Read until the text has come, and forget what came before it."""
        while text not in self.seen:
            assert self._ready(UNTIL_S), f"nothing more after {self.seen!r}"
            self.seen += os.read(self.mine, 4096).decode("utf-8", "replace")
        self.seen = self.seen.partition(text)[2]

    def type(self, text: str) -> None:
        os.write(self.mine, f"{text}\n".encode())

    def interrupt(self) -> None:
        """Send Ctrl-C until something comes of it: readline misses one in the instant between
        its prompt and its waiting.
        """
        self.process.send_signal(signal.SIGINT)
        while not self._ready(1):
            self.process.send_signal(signal.SIGINT)

    def _ready(self, within_s: float) -> bool:
        return bool(select.select([self.mine], [], [], within_s)[0])


@contextmanager
def talking(folder: Path) -> Iterator[Terminal]:
    (folder / "coe.toml").write_text(SETTINGS, encoding="utf-8")
    terminal = Terminal(folder)
    try:
        yield terminal
    finally:
        terminal.process.kill()
        terminal.process.wait()
        os.close(terminal.mine)


def test_a_conversation_is_one_session_and_ctrl_c_stops_only_the_answer(
    folder: Path,
) -> None:
    with talking(folder) as terminal:
        terminal.until("> ")
        terminal.type("안녕")
        terminal.until("1 안녕")
        terminal.until("> ")
        terminal.type("forever")
        terminal.until("3 forever....")
        terminal.process.send_signal(signal.SIGINT)
        terminal.until("[stopped]")
        terminal.until("> ")
        terminal.type("fail")
        terminal.until("error: the parrot is asleep")
        terminal.until("> ")
        terminal.type("again")
        terminal.until(" again")
        terminal.until("> ")
        terminal.interrupt()
        terminal.until("> ")
        terminal.type("/exit")
        assert terminal.process.wait(UNTIL_S) == 0


async def answered(conversation: RemoteConversation, text: str) -> str:
    pieces: list[str] = []
    await asyncio.to_thread(conversation.answer, text, pieces.append)
    return "".join(pieces)


async def test_a_server_is_sent_the_whole_conversation_and_the_key() -> None:
    async with Upstream() as upstream:
        conversation = RemoteConversation(endpoint(upstream.url), "auto", "secret")
        upstream.say(Script(words=("안", "녕")))
        assert await answered(conversation, "hi") == "안녕"
        await answered(conversation, "and?")
        assert upstream.received[1].json["messages"] == [
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": "안녕"},
            {"role": "user", "content": "and?"},
        ]
        assert upstream.received[0].headers["authorization"] == "Bearer secret"
    assert "secret" not in repr(conversation)


async def test_what_failed_is_no_part_of_the_conversation() -> None:
    refusal = b'{"error": {"message": "no such key"}}'
    async with Upstream() as upstream:
        conversation = RemoteConversation(endpoint(upstream.url), "auto", None)
        upstream.say(Script(status=401, body=refusal))
        with pytest.raises(UpstreamError, match="the server answered 401: no such key"):
            await answered(conversation, "lost")
        upstream.say(Script(frames=(b"data: " + refusal + b"\n\n",)))
        with pytest.raises(UpstreamError, match="^no such key"):
            await answered(conversation, "lost too")
        upstream.say(Script(words=("half", "whole"), cut_after=2))
        with pytest.raises((UpstreamCut, UpstreamUnreachable)):
            await answered(conversation, "cut")
        await answered(conversation, "last")
        texts = [message["content"] for message in upstream.received[-1].json["messages"]]
        assert "lost" not in texts
        assert "lost too" not in texts
        assert texts[-1] == "last"


async def test_no_server_is_one_error() -> None:
    conversation = RemoteConversation(endpoint("http://127.0.0.1:9"), "auto", None)
    with pytest.raises(UpstreamUnreachable, match="Connection refused"):
        await answered(conversation, "hi")


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://127.0.0.1:8420", "http://127.0.0.1:8420/v1/chat/completions"),
        ("http://127.0.0.1:8420/v1/", "http://127.0.0.1:8420/v1/chat/completions"),
        ("https://host/deep/v1", "https://host/deep/v1/chat/completions"),
    ],
)
def test_an_address_is_completed(url: str, expected: str) -> None:
    assert endpoint(url) == expected


@pytest.mark.parametrize("url", ["", "127.0.0.1:8420", "file:///etc/passwd", "http://"])
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(InvalidField, match="http://HOST:PORT"):
        endpoint(url)
