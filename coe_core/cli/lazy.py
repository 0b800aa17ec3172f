"""Commands that `coe --help` lists without importing what they run."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import click

from coe_core.cli.frame import with_common_options


class LazyCommand(click.Command):
    """A subcommand of which name and summary are known; the rest is loaded when it is used."""

    def __init__(self, name: str, summary: str, load: Callable[[], click.Command]) -> None:
        super().__init__(name, help=summary)
        self.load = load

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        """Make the context of the command itself: its name was typed, or its help asked for."""
        command = with_common_options(self.load())
        return command.make_context(info_name, args, parent, **extra)


def lazy_command(load: Callable[[], click.Command]) -> LazyCommand:
    """Make a subcommand of a function that imports and returns it.

    The function has the subcommand's name, and its docstring is what the list of commands says.
    """
    return LazyCommand(load.__name__, inspect.getdoc(load) or "", load)
