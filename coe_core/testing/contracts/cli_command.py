"""The laws of subcommands."""

from __future__ import annotations

import re

import click
from click.testing import CliRunner

from coe_core.cli import Frame
from coe_core.testing.contracts.law import Contract, law

HYPHENATED = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


class CliCommandContract(Contract[click.Command]):
    """What holds of every subcommand of `coe`, and of those below it."""

    @law()
    async def test_is_a_command_with_a_name(self, command: click.Command) -> None:
        """A subcommand is a click command; its name is typed, so it is lower case and hyphens."""
        assert isinstance(command, click.Command), (
            f"{command!r} is no click.Command; decorate a function with @click.command()"
        )
        for path, each in below(command):
            assert HYPHENATED.fullmatch(each.name or ""), (
                f"the command {path!r} has the name {each.name!r}; take lower case and hyphens"
            )

    @law()
    async def test_explains_itself(self, command: click.Command) -> None:
        """Every command and every option has a help text."""
        for path, each in below(command):
            assert (each.help or "").strip(), f"`{path}` has no help; write a docstring"
            for option in each.params:
                assert not isinstance(option, click.Option) or (option.help or option.hidden), (
                    f"`{path} {option.opts[0]}` has no help=..."
                )

    @law()
    async def test_shows_its_help(self, command: click.Command) -> None:
        """`--help` works without settings or a data folder."""
        for path, each in below(command):
            result = CliRunner().invoke(each, ["--help"], obj=Frame())
            assert result.exit_code == 0, (
                f"`{path} --help` ended with {result.exit_code}: {result.output}{result.exception}"
            )

    @law()
    async def test_refuses_what_it_does_not_know(self, command: click.Command) -> None:
        """An unknown option ends with exit code 2 and a hint, before anything is done."""
        for path, each in below(command):
            result = CliRunner().invoke(each, ["--no-such-option"], obj=Frame())
            assert result.exit_code == click.UsageError.exit_code, (
                f"`{path} --no-such-option` ended with {result.exit_code}, not 2"
            )


def below(command: click.Command, path: str = "coe") -> list[tuple[str, click.Command]]:
    """List a command and all below it, each with what is typed for it."""
    here = f"{path} {command.name}"
    found = [(here, command)]
    if isinstance(command, click.Group):
        for each in command.commands.values():
            found += below(each, here)
    return found
