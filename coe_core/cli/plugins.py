"""`coe plugins`: what is installed, what it contributes, what is wrong; switch it on and off."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

import click

from coe_core.application import Application, PluginReport
from coe_core.cli.frame import Frame, pass_frame
from coe_core.cli.output import echo_json, table
from coe_core.codec import unstructure
from coe_core.compose import CONTRACTS
from coe_core.error import InvalidField, NotFound
from coe_core.message import Json
from coe_core.settings import nearest
from coe_core.toggle import component_toggle, plugin_toggle


@click.group("plugins", invoke_without_command=True, help="List plugins; switch them on and off.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--check", is_flag=True, help="Exit 1 when a plugin has a problem.")
@click.pass_context
def command(context: click.Context, *, as_json: bool, check: bool) -> None:
    """List the plugins, unless a subcommand follows."""
    if context.invoked_subcommand is not None:
        return
    application = context.obj.application
    if as_json:
        echo_json(_listed(application))
    else:
        _print(application)
    if check and application.problems:
        context.exit(1)


@command.command
@click.argument("name")
@click.option("--component", metavar="KIND.NAME", help="Only this component of the plugin.")
@pass_frame
def enable(frame: Frame, *, name: str, component: str | None) -> None:
    """Switch a plugin on, or one component of it; running servers follow within a second."""
    _switch(frame, name, component, on=True)


@command.command
@click.argument("name")
@click.option("--component", metavar="KIND.NAME", help="Only this component of the plugin.")
@pass_frame
def disable(frame: Frame, *, name: str, component: str | None) -> None:
    """Switch a plugin off, or one component of it; running servers follow within a second."""
    _switch(frame, name, component, on=False)


@command.command
@click.argument("name")
@click.option("--kind", required=True, help="What it contributes: router, tool, ...")
@click.option("--to", "folder", default=".", type=click.Path(file_okay=False, path_type=Path))
def new(*, name: str, kind: str, folder: Path) -> None:
    """Write a ready plugin, with contract tests that pass, into a folder of its own."""
    from coe_core.scaffold import write_plugin

    click.echo(f"Wrote {write_plugin(name, kind, folder)}.")


def _listed(application: Application) -> Json:
    return {
        "plugins": unstructure(list(application.plugins)),
        "problems": unstructure(list(application.problems)),
    }


def _print(application: Application) -> None:
    rows = [
        (p.name, p.version, "yes" if p.enabled else "no", _contribution(p))
        for p in application.plugins
    ]
    if rows:
        click.echo(table(("NAME", "VERSION", "ENABLED", "CONTRIBUTES"), rows))
    else:
        click.echo('No plugins are installed: `pip install "coe-core[standard]"`.')
    if application.problems:
        click.echo("\nProblems:")
    for problem in application.problems:
        click.echo(f"- {problem}")


def _contribution(report: PluginReport) -> str:
    kinds = [f"{kind}: {', '.join(names)}" for kind, names in report.contributes.items()]
    off = [f"switched off: {', '.join(report.disabled)}"] if report.disabled else []
    return "; ".join(kinds + off)


def _switch(frame: Frame, name: str, component: str | None, *, on: bool) -> None:
    _check(frame.application, name, component)
    key = component_toggle(component) if component else plugin_toggle(name)

    async def change() -> None:
        async with frame.host() as host:
            await host.change(key, on, actor=frame.actor)

    asyncio.run(change())
    click.echo(f"Switched {'on' if on else 'off'}: {component or name}.")


def _check(application: Application, name: str, component: str | None) -> None:
    """Refuse what is not there: a toggle for a misspelt name would lie in wait."""
    reports: Mapping[str, PluginReport] = {report.name: report for report in application.plugins}
    if name not in reports:
        hint = nearest(name, reports)
        raise NotFound(f"no plugin {name!r} is installed{hint}; `coe plugins` lists them")
    if component is None:
        return
    kind, _, own = component.partition(".")
    if kind not in CONTRACTS or not own:
        raise InvalidField(
            f"{component!r} is no component: write KIND.NAME, routers.keyword say"
            f"{nearest(kind, CONTRACTS)}"
        )
    names = reports[name].contributes.get(kind, ())
    if own not in names and reports[name].enabled:
        raise NotFound(f"the plugin {name} has no {component!r}{nearest(own, names)}")
