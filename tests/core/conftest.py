"""Hosts with plugins that the tests write, found by entry point like any other."""

import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from importlib.metadata import EntryPoint
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from attrs import define, frozen

from coe_core import hookimpl
from coe_core.host import Host

StartHost = Callable[..., Any]


@define
class SetClock:
    """A clock that stands still until it is set."""

    at: datetime = datetime(2026, 11, 1, tzinfo=UTC)

    def now(self) -> datetime:
        return self.at

    def monotonic_s(self) -> float:
        return self.at.timestamp()

    async def sleep(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)


@frozen
class Given:
    """An entry point to a class that a test made."""

    name: str
    cls: type[Any]
    dist: None = None

    @property
    def value(self) -> str:
        return repr(self.cls)

    def load(self) -> type[Any]:
        return self.cls


def contributing(name: str, /, **components: Any) -> Given:
    """Make a plugin that contributes `routers=[...]`, `tools=[...]` and so on."""
    methods = {
        f"coe_{kind}": hookimpl(_returning(f"coe_{kind}", list(given)))
        for kind, given in components.items()
    }
    return Given(name, type(f"{name.title()}Plugin", (), methods))


def _returning(name: str, components: list[Any]) -> Any:
    def hook(self: Any, ctx: Any) -> list[Any]:
        return components

    hook.__name__ = name
    return hook


@pytest.fixture
async def start_host(tmp_path: Path) -> AsyncIterator[StartHost]:
    """Start hosts with settings as TOML text and entry points; they are closed at the end."""
    async with AsyncExitStack() as stack:

        async def start(settings: str = "", *entry_points: Any, **options: Any) -> Host:
            config = tmp_path / "coe.toml"
            config.write_text(dedent(settings), encoding="utf-8")
            host = await Host.start(
                config, data_dir=tmp_path / "data", entry_points=entry_points, **options
            )
            stack.push_async_callback(host.close)
            return host

        yield start


@pytest.fixture
def module_plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., EntryPoint]:
    """Write a module, and return an entry point to its `Plugin`."""
    folder = tmp_path / "modules"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)

    def write(name: str, source: str) -> EntryPoint:
        module = f"coe_test_{name}"
        monkeypatch.delitem(sys.modules, module, raising=False)
        header = "from attrs import frozen, field\nfrom coe_core import *\n"
        (folder / f"{module}.py").write_text(header + dedent(source), encoding="utf-8")
        return EntryPoint(name, f"{module}:Plugin", "coe.plugins")

    return write
