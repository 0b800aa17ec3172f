"""Add a command to `coe` that lists the models and who serves them."""

import click
from attrs import frozen

from coe_core import hookimpl
from coe_core.cli import Frame, pass_frame
from coe_core.compose import Context


@click.command("example")
@click.option("--provider", help="Only those of this provider.")
@pass_frame
def example(frame: Frame, provider: str | None) -> None:
    """List the models and who serves them."""
    for alias, model in frame.application.models.items():
        if provider in (None, model.provider):
            click.echo(f"{alias}\t{model.provider}")


@frozen
class ExamplePlugin:
    @hookimpl
    def coe_cli_commands(self, ctx: Context) -> list[click.Command]:
        return [example]
