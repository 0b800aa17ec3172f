"""The command line in an empty folder, with one plugin installed beside what is there.

That may be the core alone (the session `package`) or the whole workspace.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import pytest
from attrs import frozen

from coe_core.cli.program import run

PLUGIN = '''
"""A plugin that the tests of the command line install."""

import asyncio

import click
from attrs import field, frozen

from coe_core import Check, Chunk, Finding, Model, Secret, hookimpl
from coe_core.cli import LazyCommand
from coe_core.error import UpstreamOverloaded
from coe_core.model import FREE


@frozen(kw_only=True)
class Settings:
    greeting: str = "hello"
    """What `coe greet` says."""
    well: bool = True
    """What the check finds."""
    token: Secret | None = None
    """A secret."""


@frozen(kw_only=True)
class Options:
    pace_s: float = 0.0
    """How long each word takes."""


@frozen
class Parrot:
    name: str = "parrot"
    options: type = Options

    def models(self):
        own = {"alias": "parrot", "provider": "parrot", "name": "parrot"}
        return [Model(**own, options=Options(), price=FREE)]

    def describe(self, model):
        return model

    async def complete(self, model, request, *, group):
        if request.text == "fail":
            raise UpstreamOverloaded("the parrot is asleep")
        for word in (str(len(request.messages)), " ", request.text):
            yield Chunk(content=word)
        while request.text == "forever":
            await asyncio.sleep(0.01)
            yield Chunk(content=".")
        yield Chunk(finish_reason="stop")

    async def embed(self, model, request, *, group):
        raise NotImplementedError


@frozen
class Health:
    well: bool
    name: str = "parrot-health"

    async def check(self):
        return Finding(ok=self.well, text="the parrot was looked at", mend="Feed it.")


@click.command("greet", help="Greet.")
@click.option("--loud", is_flag=True, help="Loudly.")
@click.pass_obj
def greet(frame, loud):
    own = frame.parts["parrot"].plugin.settings.greeting
    click.echo(own.upper() if loud else own)


@click.group("cage", help="Look after the cage.")
def cage():
    pass


@cage.command("clean", help="Clean it.")
def clean():
    pass


@frozen
class ParrotPlugin:
    settings: Settings

    @hookimpl
    def coe_model_providers(self, ctx):
        return [Parrot()]

    @hookimpl
    def coe_checks(self, ctx):
        return [Health(self.settings.well)]

    @hookimpl
    def coe_cli_commands(self, ctx):
        return [greet, LazyCommand("cage", "Look after the cage.", lambda: cage)]
'''

ENTRY_POINT = "[coe.plugins]\nparrot = coe_test_parrot:ParrotPlugin\n"
METADATA = "Metadata-Version: 2.1\nName: coe-test-parrot\nVersion: 1.2.3\n"


@frozen
class Printed:
    """What a command printed, and how it ended."""

    code: int
    out: str
    err: str


Coe = Callable[..., Printed]


@pytest.fixture
def site(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Install the parrot, in a folder that is on the path of this process."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "coe_test_parrot.py").write_text(PLUGIN, encoding="utf-8")
    installed = folder / "coe_test_parrot-1.2.3.dist-info"
    installed.mkdir()
    (installed / "entry_points.txt").write_text(ENTRY_POINT, encoding="utf-8")
    (installed / "METADATA").write_text(METADATA, encoding="utf-8")
    monkeypatch.delitem(sys.modules, "coe_test_parrot", raising=False)
    monkeypatch.syspath_prepend(folder)
    return folder


@pytest.fixture
def folder(site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def coe(folder: Path, capsys: pytest.CaptureFixture[str]) -> Coe:
    """Type a command; `settings` go into ./coe.toml first."""

    def typed(*arguments: str, settings: str | None = None) -> Printed:
        if settings is not None:
            (folder / "coe.toml").write_text(dedent(settings), encoding="utf-8")
        code = run(arguments)
        printed = capsys.readouterr()
        return Printed(code, printed.out, printed.err)

    return typed
