"""The reference says all that the code has, and nothing that it no longer has."""

import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import attrs
import click
import pytest

from coe_core import compose, contract, hookspec, testing
from coe_core.cli import LazyCommand
from coe_core.cli.frame import Frame
from coe_core.cli.program import OWN_COMMANDS, program
from coe_core.error import CoeError
from coe_core.plugin import HOOK_NAMES, discover, load_class, settings_class
from coe_core.settings import (
    CoeTable,
    GroupTable,
    ModelTable,
    PluginTable,
    PriceTable,
    RoutingTable,
)

from .conftest import ROOT

OURS = {"coe-core", *(folder.name for folder in ROOT.glob("*/coe-*/"))}
PLUGINS = {n: p for n, p in discover()[0].items() if p.distribution in OURS}
TABLES = {
    "[coe]": CoeTable,
    "[routing]": RoutingTable,
    "[models.ALIAS]": ModelTable,
    "[models.ALIAS.price]": PriceTable,
    "[groups.NAME]": GroupTable,
    "[plugins.NAME]": PluginTable,
} | {
    f"[plugins.{name}]": cls
    for name, plugin in PLUGINS.items()
    if (cls := settings_class(load_class(plugin))) is not None
}


@cache
def sections(name: str) -> dict[str, str]:
    """Heading to what stands below it."""
    text = (ROOT / "docs" / "reference" / name).read_text(encoding="utf-8")
    parts = re.split(r"(?m)^##+ (.+)\n", text)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_is_not_stale() -> None:
    command = [sys.executable, "docs/generate.py", "--check"]
    generated = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert generated.returncode == 0, generated.stdout + generated.stderr


def test_notices_a_change(tmp_path: Path) -> None:
    reference = tmp_path / "docs" / "reference"
    for page in (ROOT / "docs" / "reference").glob("*.md"):
        (reference / page.name).parent.mkdir(parents=True, exist_ok=True)
        (reference / page.name).write_text(page.read_text(encoding="utf-8"), encoding="utf-8")
    (reference / "errors.md").write_text("old", encoding="utf-8")
    script = "import generate, pathlib, sys; generate.REFERENCE = pathlib.Path(sys.argv[1]); "
    script += "sys.argv[1:] = ['--check']; sys.exit(generate.main())"
    generated = subprocess.run(
        [sys.executable, "-c", script, str(reference)],
        cwd=ROOT / "docs",
        capture_output=True,
        text=True,
        check=False,
    )
    assert (generated.returncode, "Stale: errors.md" in generated.stdout) == (1, True)


@pytest.mark.parametrize("hook", HOOK_NAMES)
def test_every_hook_is_there_with_its_arguments_and_contract(hook: str) -> None:
    section = sections("hooks.md")[f"`{hook}`"]
    arguments = inspect.signature(getattr(hookspec, hook)).parameters
    assert re.search(rf"def {hook}\({', '.join(rf'{a}: .+?' for a in arguments)}\) -> ", section)
    assert "Since " in section
    if (kind := hook.removeprefix("coe_")) in compose.CONTRACTS:
        assert compose.CONTRACTS[kind].__name__ in section


@pytest.mark.parametrize(
    "protocol", dict.fromkeys(compose.CONTRACTS.values()), ids=lambda c: c.__name__
)
def test_every_contract_is_there_with_its_methods(protocol: type) -> None:
    if protocol.__module__ == contract.__name__:
        assert members(protocol) <= sections("contracts.md").keys()


@pytest.mark.parametrize("protocol", compose.SERVICES, ids=lambda c: c.__name__)
def test_every_service_is_there_with_its_methods(protocol: type) -> None:
    assert members(protocol) <= sections("services.md").keys()


@pytest.mark.parametrize("table", TABLES)
def test_every_setting_is_there_with_its_meaning(table: str) -> None:
    keys = [a.name for a in attrs.fields(TABLES[table]) if not a.metadata.get("rest")]
    for key in keys:
        row = re.search(rf"(?m)^\| `{key}` \|.*\| (.*) \|$", sections("settings.md")[f"`{table}`"])
        assert row is not None, key
        assert row[1].strip(), f"{table} {key} has no docstring"


def test_every_error_code_is_there() -> None:
    text = (ROOT / "docs" / "reference" / "errors.md").read_text(encoding="utf-8")
    for error in all_errors(CoeError):
        if error.__module__.partition(".")[0].replace("_", "-") in OURS:
            assert f"| `{error.code}` | {error.status} |" in text


def test_every_command_is_there_with_its_options(tmp_path: Path) -> None:
    frame = Frame(config=None, given_data_dir=tmp_path)
    ours = [report for report in frame.application.plugins if report.distribution in OURS]
    contributed = {n for report in ours for n in report.contributes.get("cli_commands", ())}
    assert {"keys", "models", "records", "serve"} <= contributed
    for name in {*OWN_COMMANDS, *contributed}:
        command = program.get_command(click.Context(program, obj=frame), name)
        assert command is not None
        loaded = command.load() if isinstance(command, LazyCommand) else command
        for path, below in walk(f"coe {name}", loaded):
            section = sections("cli.md")[f"`{path}`"]
            for parameter in below.params:
                is_option = isinstance(parameter, click.Option)
                label = parameter.opts[0] if is_option else parameter.human_readable_name
                assert label in section or parameter.name in ("config", "data", "debug"), path


def test_every_suite_is_there() -> None:
    suites = {f"`{name}`" for name in testing.__all__ if name.endswith("Contract")}
    assert suites <= sections("testing.md").keys()


def members(cls: type) -> set[str]:
    own = {n: m for n, m in vars(cls).items() if not n.startswith("_")}
    plain = {f"`{cls.__name__}.{n}`" for n, m in own.items() if inspect.isfunction(m)}
    return {f"`{cls.__name__}`", *plain}


def all_errors(error: type[CoeError]) -> Iterator[type[CoeError]]:
    yield error
    for below in error.__subclasses__():
        yield from all_errors(below)


def walk(path: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
    yield path, command
    if isinstance(command, click.Group):
        for name, below in command.commands.items():
            yield from walk(f"{path} {name}", below)
