"""The program `coe`: its own commands, those of the plugins, and what becomes of errors."""

from __future__ import annotations

import io
import os
import sys
import traceback
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import click
from loguru import logger

from coe_core.cli.frame import Frame, with_common_options
from coe_core.cli.lazy import LazyCommand
from coe_core.error import CoeError, InvalidField, SettingsError, StartRefused
from coe_core.settings import nearest


def _own(name: str, summary: str) -> LazyCommand:
    """Name a command of the core's, in the module of its name."""
    return LazyCommand(name, summary, lambda: import_module(f"coe_core.cli.{name}").command)


OWN_COMMANDS: Mapping[str, LazyCommand] = {
    "chat": _own("chat", "Talk in the terminal. What is piped in is one question."),
    "config": _own("config", "Show and check the settings."),
    "doctor": _own("doctor", "Check the installation; exits 1 when something is wrong."),
    "init": _own("init", "Write a commented settings file."),
    "plugins": _own("plugins", "List plugins; switch them on and off."),
}

INTERRUPTED = 130
"""What a shell reports of a program that Ctrl-C ended."""

LOG_FORMAT = "{time:YYYY-MM-DDTHH:mm:ssZZ} {level} {name}: {message} {extra}"


class Program(click.Group):
    """The group of all commands. The plugins' own are found by composing, opening nothing."""

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        """Read the common options first."""
        return super().make_context(info_name, args, parent, obj=Frame.of(args), **extra)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """List the core's and the plugins' commands."""
        try:
            contributed = _contributed(ctx.obj)
        except CoeError:
            contributed = {}  # `format_epilog` says so
        return sorted({*OWN_COMMANDS, *contributed})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Find a command; its own are there even when the settings are broken."""
        if cmd_name in OWN_COMMANDS:
            return OWN_COMMANDS[cmd_name]
        command = _contributed(ctx.obj).get(cmd_name)
        return with_common_options(command) if command is not None else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that the arguments begin with; say when a problem may hide it."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            hint = nearest(args[0], self.list_commands(ctx))
            why = f"no command {args[0]!r}{hint or '.'} {_hidden(ctx.obj)}"
            raise click.UsageError(why.strip(), ctx) from error

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Say which commands may be missing, and why."""
        if hint := _hidden(ctx.obj):
            formatter.write_paragraph()
            formatter.write_text(hint)


def _contributed(frame: Frame) -> dict[str, click.Command]:
    return {command.name: command for command in frame.plugin_commands.commands if command.name}


def _hidden(frame: Frame) -> str:
    """Say why plugins' commands may be missing, "" when none is."""
    try:
        plugins = frame.plugin_commands
    except CoeError as error:
        return f"The plugins' commands are missing: {error.message}."
    reasons = [f"switched off: {', '.join(plugins.disabled)}"] if plugins.disabled else []
    reasons += [f"{problem.plugin}: {problem.text}" for problem in plugins.problems]
    why = f"Some commands may be missing ({'; '.join(reasons)}): see `coe plugins`."
    return why if reasons else ""


program = with_common_options(
    Program("coe", help="One service through which people and programs talk to language models.")
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line, and exit."""
    _speak_utf8()
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: Sequence[str]) -> int:
    """Run the command line; returns the exit code. An error is one line, unless with --debug."""
    debug = "--debug" in arguments
    _log(debug=debug)
    try:
        code = program.main(list(arguments), prog_name="coe", standalone_mode=False)
    except (KeyboardInterrupt, click.Abort):
        return INTERRUPTED
    except click.exceptions.NoArgsIsHelpError as help_wanted:
        click.echo(help_wanted.format_message(), err=True)
        return help_wanted.exit_code
    except BrokenPipeError:
        # Whoever read the output has gone; Python must not try to flush it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        if debug:
            traceback.print_exc()
        text, code = _explained(error)
        click.echo(f"error: {text}", err=True)
        return code
    return code if isinstance(code, int) else 0


def _explained(error: Exception) -> tuple[str, int]:
    match error:
        case click.UsageError():
            command = error.ctx.command_path if error.ctx else "coe"
            return f"{error.format_message()} See `{command} --help`.", error.exit_code
        case click.ClickException():
            return error.format_message(), error.exit_code
        case SettingsError() | StartRefused() | InvalidField():
            return error.message, 2
        case CoeError():
            return error.message, 1
        case OSError(filename=str() | Path() as path, strerror=str(reason)):
            return f"{path}: {reason}", 1
        case _:
            return f"{type(error).__name__}: {error}; --debug shows where it came from", 1


def _log(*, debug: bool) -> None:
    logger.remove()
    # Without `diagnose`, which would write the values of variables, secrets among them.
    level = "DEBUG" if debug else "WARNING"
    logger.add(sys.stderr, level=level, format=LOG_FORMAT, diagnose=False, backtrace=False)


def _speak_utf8() -> None:
    """Read and write UTF-8 whatever the locale says: `LANG=C` must not break Korean."""
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
