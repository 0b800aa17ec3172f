"""What every command is given: where the settings are, and ways into the deployment."""

from __future__ import annotations

import getpass
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from attrs import frozen

from coe_core.settings import Settings, load

if TYPE_CHECKING:
    from coe_core.application import Application
    from coe_core.compose import Part, PluginCommands
    from coe_core.host import Host

DEFAULT_CONFIG = Path("coe.toml")


@frozen(kw_only=True)
class Frame:
    """The options that every command has, and what follows from them, read when it is needed."""

    config: Path | None = None
    """The settings file, None when there is none."""
    given_data_dir: Path | None = None
    """The data folder if the command line names one."""
    debug: bool = False

    @classmethod
    def of(cls, arguments: Sequence[str]) -> Frame:
        """Find the common options, wherever they stand among the arguments.

        They are sought before the command is known: which commands there are depends on them.
        """
        config = _value(arguments, "--config")
        data_dir = _value(arguments, "--data")
        default = DEFAULT_CONFIG if DEFAULT_CONFIG.exists() else None
        return cls(
            config=Path(config) if config else default,
            given_data_dir=Path(data_dir) if data_dir else None,
            debug="--debug" in arguments,
        )

    @cached_property
    def settings(self) -> Settings:
        """The settings, of the file and the environment. Raises `SettingsError`."""
        return load(self.config)

    @property
    def data_dir(self) -> Path:
        """The data folder."""
        return self.given_data_dir or Path(self.settings.coe.data_dir)

    @property
    def actor(self) -> str:
        """Who acts: the name of the machine's user."""
        with suppress(KeyError, OSError):
            return getpass.getuser()
        return str(os.getuid())

    @property
    def application(self) -> Application:
        """The deployment with the operators' toggles, composed but not opened; makes no file."""
        return self._composed[0]

    @cached_property
    def plugin_commands(self) -> PluginCommands:
        """The plugins' subcommands; quicker to get than the whole application."""
        from coe_core.host import unopened_commands

        return unopened_commands(self.settings, self.data_dir)

    @property
    def parts(self) -> Mapping[str, Part]:
        """The plugins that the application was composed of."""
        return self._composed[1]

    @cached_property
    def _composed(self) -> tuple[Application, Mapping[str, Part]]:
        from coe_core.host import compose_unopened

        return compose_unopened(self.settings, self.data_dir)

    @asynccontextmanager
    async def host(self, *kept: str) -> AsyncIterator[Host]:
        """Open the deployment; the plugins `kept` cannot be switched off while it is open."""
        from coe_core.host import Host

        host = await Host.start(self.config, data_dir=self.given_data_dir, kept=frozenset(kept))
        try:
            yield host
        finally:
            await host.close()


pass_frame = click.make_pass_decorator(Frame)


def common_options() -> list[click.Option]:
    """Make the options that every command shows; `Frame.of` has read them by then."""
    kinds: list[dict[str, Any]] = [
        {
            "param_decls": ["--config"],
            "type": click.Path(dir_okay=False, path_type=Path),
            "metavar": "FILE",
            "help": "The settings file.  [default: ./coe.toml, if there]",
        },
        {
            "param_decls": ["--data"],
            "type": click.Path(file_okay=False, path_type=Path),
            "metavar": "DIR",
            "help": "The data folder, instead of the one in the settings.",
        },
        {
            "param_decls": ["--debug"],
            "is_flag": True,
            "help": "Log more, and show where an error came from.",
        },
    ]
    return [click.Option(**kind, expose_value=False) for kind in kinds]


def with_common_options(command: click.Command) -> click.Command:
    """Give a command, and those below it, the common options that it does not have."""
    taken = {name for parameter in command.params for name in parameter.opts}
    command.params += [o for o in common_options() if o.opts[0] not in taken]
    if isinstance(command, click.Group):
        for each in command.commands.values():
            with_common_options(each)
    return command


def _value(arguments: Sequence[str], option: str) -> str | None:
    """Find the last value of an option; what follows a lone `--` is none of ours."""
    ours = list(arguments[: arguments.index("--")] if "--" in arguments else arguments)
    found = None
    for argument, after in zip(ours, [*ours[1:], None], strict=False):
        if argument == option:
            found = after
        elif argument.startswith(f"{option}="):
            found = argument.removeprefix(f"{option}=")
    return found
