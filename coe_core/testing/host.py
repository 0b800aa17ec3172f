"""A deployment of a few plugins, in a folder of its own, for tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import EntryPoint
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from coe_core.host import Host
from coe_core.plugin import ENTRY_POINT_GROUP
from coe_core.service import Clock


def entry_point(name: str, plugin: type[Any]) -> EntryPoint:
    """Make the entry point of a plugin class that need not be installed."""
    given = type("Given", (EntryPoint,), {"load": lambda _: plugin})
    made: EntryPoint = given(name, f"{plugin.__module__}:{plugin.__qualname__}", ENTRY_POINT_GROUP)
    return made


@asynccontextmanager
async def deployment(
    settings: str = "",
    *,
    plugins: dict[str, type[Any]] | None = None,
    data_dir: Path | None = None,
    clock: Clock | None = None,
) -> AsyncIterator[Host]:
    """Run a host of exactly these plugins, by the names that `settings`, in TOML, knows them by.

    What else is installed is not looked at. Records are kept in memory unless a plugin keeps
    them; without `data_dir` the folder is removed at the end.
    """
    entry_points = [entry_point(name, plugin) for name, plugin in (plugins or {}).items()]
    with TemporaryDirectory(prefix="coe-") as temporary:
        folder = data_dir or Path(temporary)
        config = folder / "coe.toml"
        folder.mkdir(parents=True, exist_ok=True)
        config.write_text(settings, encoding="utf-8")
        host = await Host.start(config, data_dir=folder, entry_points=entry_points, clock=clock)
        try:
            yield host
        finally:
            await host.close()
