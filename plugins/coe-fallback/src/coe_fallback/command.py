"""`coe fallback`: switch the last resort, and see how targets stand."""

from __future__ import annotations

import asyncio

import click
from attrs import frozen

from coe_core.cli import Frame, echo_json, table
from coe_core.codec import rfc3339
from coe_fallback.settings import Settings
from coe_fallback.switch import Standing, standing, switch


@frozen
class Desk:
    """Where the switch is."""

    frame: Frame
    settings: Settings

    def turn(self, *, on: bool) -> None:
        """Switch, and say so."""

        async def change() -> None:
            async with self.frame.host() as host:
                await switch(host.application, self.settings, on=on, actor=self.frame.actor)

        asyncio.run(change())
        click.echo(f"Switched {'on' if on else 'off'}: the last resort.")


pass_desk = click.make_pass_decorator(Desk)


def fallback_command(settings: Settings) -> click.Group:
    """Make the command group."""

    @click.pass_context
    def desk(context: click.Context) -> None:
        context.obj = Desk(context.obj, settings)

    help_text = "Switch the last resort on and off; see which targets are left alone."
    return click.Group("fallback", callback=desk, help=help_text, commands=[on, off, status])


@click.command
@pass_desk
def on(desk: Desk) -> None:
    """Let `[plugins.fallback] openai` answer what fails; running servers follow in a second."""
    desk.turn(on=True)


@click.command
@pass_desk
def off(desk: Desk) -> None:
    """Let what fails fail; running servers follow within a second."""
    desk.turn(on=False)


@click.command
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_desk
def status(desk: Desk, *, as_json: bool) -> None:
    """Show the switch, and the targets whose breaker is not closed."""

    async def look() -> Standing:
        async with desk.frame.host() as host:
            return await standing(host.application, desk.settings)

    stands = asyncio.run(look())
    if as_json:
        echo_json(stands)
    else:
        _print(stands)


def _print(stands: Standing) -> None:
    is_on = "on" if stands.fallback_to_openai else "off"
    click.echo(f"last resort: {is_on} (by {stands.origin}), model {stands.openai or 'not set'}")
    if stands.problem and (stands.openai or stands.fallback_to_openai):
        click.echo(f"problem: {stands.problem}")
    click.echo(f"local model: {stands.local or 'not set'}")
    rows = [
        (alias, b.state, str(b.failures), rfc3339(b.until) if b.until else "")
        for alias, b in stands.breakers.items()
    ]
    if rows:
        click.echo(table(("TARGET", "BREAKER", "FAILURES", "UNTIL"), rows))
    else:
        click.echo("every breaker is closed")
