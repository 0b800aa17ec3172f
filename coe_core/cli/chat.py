"""`coe chat`: talk in the terminal, to this deployment or to a server."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, aclosing, contextmanager, nullcontext, suppress
from typing import Protocol, TypeAlias

import click
from attrs import frozen

from coe_core.access import DEFAULT_GROUP, GroupName, Principal
from coe_core.admission import Ask
from coe_core.application import AUTO
from coe_core.cli.frame import Frame, pass_frame
from coe_core.codec import structure
from coe_core.engine import run
from coe_core.error import CoeError, InvalidField
from coe_core.event import Delta, TurnFailed
from coe_core.host import Host
from coe_core.identity import SessionId, uuid7
from coe_core.message import user
from coe_core.request import ChatRequest
from coe_core.settings import Secret

Write: TypeAlias = Callable[[str], None]

PROMPT = "> "
LEAVE = ("/exit", "/quit")


class Conversation(Protocol):
    """One session, wherever it is held."""

    def answer(self, text: str, write: Write) -> None:
        """Send a message and write the answer as it comes. Raises `CoeError`."""
        ...


@click.command("chat", help="Talk in the terminal. What is piped in is one question.")
@click.option("--model", default=AUTO, show_default=True, help="The alias that answers.")
@click.option("--group", default=DEFAULT_GROUP, show_default=True, help="The group you speak for.")
@click.option("--url", help="A server to talk to, instead of this deployment itself.")
@click.option("--key", metavar="env:NAME", help="Where the key for the server is: env: or file:.")
@pass_frame
def command(frame: Frame, *, model: str, group: str, url: str | None, key: str | None) -> None:
    """Open the conversation and hold it."""
    with _conversation(frame, model, group, url, key) as conversation:
        if sys.stdin.isatty():
            _talk(conversation)
        elif text := sys.stdin.read().strip():
            conversation.answer(text, _write)
            _write("\n")


def _conversation(
    frame: Frame, model: str, group: str, url: str | None, key: str | None
) -> AbstractContextManager[Conversation]:
    if url is not None:
        from coe_core.cli.remote import RemoteConversation, endpoint

        return nullcontext(RemoteConversation(endpoint(url), model, _revealed(key)))
    if key is not None:
        raise InvalidField("--key goes with --url")
    return _local(frame, model, group)


def _revealed(reference: str | None) -> str | None:
    if reference is None:
        return None
    try:
        return structure(reference, Secret).reveal()
    except ValueError as error:
        raise InvalidField(f"--key: {error}") from error


def _talk(conversation: Conversation) -> None:
    with suppress(ImportError):
        import readline  # noqa: F401 importing it gives `input` a history and editing
    click.echo("/exit or Ctrl-D leaves; Ctrl-C stops an answer.", err=True)
    for text in _lines():
        try:
            conversation.answer(text, _write)
        except KeyboardInterrupt:
            _write(" [stopped]")
        except CoeError as error:
            click.echo(f"error: {error.message}", err=True)
            continue
        _write("\n")


def _lines() -> Iterator[str]:
    """Yield what is typed, until the end or /exit; Ctrl-C takes back the line."""
    while True:
        try:
            text = input(PROMPT).strip()
        except KeyboardInterrupt:
            _write("\n")
            continue
        except EOFError:
            _write("\n")
            return
        if text in LEAVE:
            return
        if text:
            yield text


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


@frozen
class LocalConversation:
    """A session of this deployment, run in this process."""

    runner: asyncio.Runner
    host: Host
    principal: Principal
    model: str
    session_id: SessionId

    def answer(self, text: str, write: Write) -> None:
        """Run a turn; Ctrl-C cancels it, and it is recorded as cancelled."""
        self.runner.run(self._turn(text, write))

    async def _turn(self, text: str, write: Write) -> None:
        request = ChatRequest(model=self.model, messages=(user(text),), stream=True)
        ask = Ask(request=request, principal=self.principal, session_id=self.session_id)
        async with self.host.lease() as application, aclosing(run(application, ask)) as events:
            async for event in events:
                match event:
                    case Delta(chunk=chunk):
                        write(chunk.content)
                    case TurnFailed(error=error):
                        raise error


@contextmanager
def _local(frame: Frame, model: str, group: str) -> Iterator[LocalConversation]:
    principal = Principal(group=GroupName(group), user=frame.actor, role="admin")
    # One loop for the whole conversation: it stands still while somebody types, so that `input`
    # and its Ctrl-C are the terminal's own.
    with asyncio.Runner() as runner:
        opening = frame.host()
        host = runner.run(opening.__aenter__())
        try:
            yield LocalConversation(runner, host, principal, model, SessionId(uuid7()))
        finally:
            runner.run(opening.__aexit__(None, None, None))
