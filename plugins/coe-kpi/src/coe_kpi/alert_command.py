"""`coe alerts`: what holds, who is told, and for how long nobody is."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from importlib.resources import files
from pathlib import Path
from typing import TypeVar

import click
from attrs import evolve, frozen

from coe_core.cli import Frame, echo_json, table
from coe_core.codec import rfc3339, unstructure
from coe_core.contract import Alert
from coe_core.error import InvalidField
from coe_core.host import Host
from coe_core.message import Json
from coe_core.service import Clock, StateStore
from coe_kpi.filed import read_board
from coe_kpi.prometheus import exported
from coe_kpi.round import SILENCES, silences
from coe_kpi.rule import load
from coe_kpi.settings import Settings
from coe_kpi.standing import Silence
from coe_kpi.window import LENGTH, MINUTES

T = TypeVar("T")


@frozen
class Desk:
    """Where alerts are looked after."""

    frame: Frame
    settings: Settings

    def run(self, work: Callable[[Host], Awaitable[T]]) -> T:
        """Do something with the deployment, opened."""

        async def opened() -> T:
            async with self.frame.host() as host:
                return await work(host)

        return asyncio.run(opened())


pass_desk = click.make_pass_decorator(Desk)
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def alerts_command(settings: Settings) -> click.Group:
    """Make the command group."""

    @click.pass_context
    def desk(context: click.Context) -> None:
        context.obj = Desk(context.obj, settings)

    help_text = "See which alerts hold, test their delivery, silence them, export the rules."
    commands = [list_, test, silence, export]
    return click.Group("alerts", callback=desk, help=help_text, commands=commands)


@click.command("list")
@as_json
@pass_desk
def list_(desk: Desk, *, as_json: bool) -> None:
    """List the alerts that hold, as they were evaluated last, and the silences."""
    alerts, quiet = desk.run(_standing)
    if as_json:
        echo_json({"alerts": unstructure(alerts), "silences": unstructure(quiet)})
        return
    rows = [(a.severity, a.key, f"{a.at:%Y-%m-%d %H:%M}", a.text, a.playbook) for a in alerts]
    click.echo(table(("SEVERITY", "KEY", "SINCE (UTC)", "TEXT", "PLAYBOOK"), rows))
    for each in quiet:
        click.echo(f"silenced until {rfc3339(each.until)}: {each.pattern} {each.reason}".rstrip())


async def _standing(host: Host) -> tuple[list[Alert], list[Silence]]:
    store, now = host.application.need(StateStore), host.application.need(Clock).now()
    quiet = [each for each in await silences(store) if each.until > now]
    return (await read_board(store)).firing, quiet


@click.command
@as_json
@pass_desk
def test(desk: Desk, *, as_json: bool) -> None:
    """Send a test alert, and its end, to every sink; exit with 1 if one does not take it."""
    failures = desk.run(_tested)
    if as_json:
        echo_json(failures)
    for sink, failure in failures.items() if not as_json else ():
        click.echo(f"{sink}: {failure or 'delivered'}")
    if any(failures.values()):
        raise SystemExit(1)


async def _tested(host: Host) -> dict[str, str | None]:
    now = host.application.need(Clock).now()
    alert = Alert(
        key=f"test/{rfc3339(now)}",
        rule="test",
        severity="info",
        text="this is a test, asked for with `coe alerts test`",
        playbook="docs/playbooks/README.md",
        at=now,
    )
    found: dict[str, str | None] = {}
    for sink in host.application.alert_sinks:
        try:
            await sink.deliver(alert)
            await sink.deliver(evolve(alert, resolved=True))
            found[sink.name] = None
        except Exception as error:
            found[sink.name] = f"{type(error).__name__}: {error}"
    return found


@click.command
@click.argument("pattern")
@click.option("--for", "length", default="1h", show_default=True, help="30m, 2h, 7d.")
@click.option("--reason", default="", help="Why, for the others.")
@click.option("--end", is_flag=True, help="End the silence.")
@pass_desk
def silence(desk: Desk, *, pattern: str, length: str, reason: str, end: bool) -> None:
    """Tell nobody of the alerts whose keys match PATTERN, `budget-*` say, for a while."""
    if not end and not pattern.strip():
        raise InvalidField("name the alerts, `budget-*` say, or `*` for all", param="pattern")
    match = LENGTH.fullmatch(length)
    if match is None:
        raise InvalidField(f"{length!r:.40} is no time: write 30m, 2h or 7d", param="for")
    time = timedelta(minutes=int(match[1]) * MINUTES[match[2]])

    async def change(host: Host) -> datetime:
        until = host.application.need(Clock).now() + time
        quiet = Silence(pattern=pattern, until=until, actor=desk.frame.actor, reason=reason)
        value: Json = None if end else unstructure(quiet)
        await host.change(f"{SILENCES}{pattern}", value, actor=desk.frame.actor)
        return until

    until = desk.run(change)
    click.echo(f"{pattern}: " + ("silenced no more" if end else f"silenced until {rfc3339(until)}"))


@click.command
@click.option("--toml", "as_toml", is_flag=True, help="Print the file of rules itself.")
@pass_desk
def export(desk: Desk, *, as_toml: bool) -> None:
    """Print the rules as a rule file of Prometheus: JSON, which is YAML as well."""
    if not as_toml:
        echo_json(exported(load(desk.settings.rules)))
        return
    path = desk.settings.rules
    source = Path(path) if path else files(__package__).joinpath("rules.toml")
    click.echo(source.read_text(encoding="utf-8"), nl=False)
