"""`coe config`: what is set, where, and what is wrong with it."""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Container, Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs
import click
from attrs import frozen

from coe_core.application import Application
from coe_core.cli.frame import Frame, pass_frame
from coe_core.cli.init import toml
from coe_core.cli.output import echo_json, table
from coe_core.codec import unstructure
from coe_core.error import SettingsError
from coe_core.message import Json
from coe_core.plugin import Installed, PluginFailed, build, discover
from coe_core.settings import Secret, Settings, nearest, read

OPERATOR = "operator"


@frozen(kw_only=True)
class Leaf:
    """One value of the settings, as it is in force. A secret is shown as its reference."""

    path: str
    value: Json
    origin: str
    """`default`, `FILE:LINE`, `env:NAME` or `operator`."""
    secret: Secret | None = None


@click.group("config", help="Show and check the settings.")
def command() -> None:
    """Hold the subcommands."""


@command.command
@click.option("--origin", is_flag=True, help="Say where each value comes from.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_frame
def show(frame: Frame, *, origin: bool, as_json: bool) -> None:
    """Show every setting, the defaults too."""
    found = leaves(frame)
    if as_json:
        echo_json({leaf.path: {"value": leaf.value, "origin": leaf.origin} for leaf in found})
    elif origin:
        rows = [(leaf.path, _text(leaf.value), leaf.origin) for leaf in found]
        click.echo(table(("KEY", "VALUE", "ORIGIN"), rows))
    else:
        click.echo(table(("KEY", "VALUE"), [(leaf.path, _text(leaf.value)) for leaf in found]))


@command.command
@click.pass_context
def validate(context: click.Context) -> None:
    """Check the settings, the plugins' own too; exits 1 when something is wrong."""
    frame: Frame = context.obj
    found = problems(frame)
    for problem in found:
        click.echo(problem, err=True)
    if found:
        context.exit(1)
    click.echo(f"{frame.config or 'The settings'}: no problems found.")


def problems(frame: Frame) -> list[str]:
    """List all that is wrong with the settings, each with its place as far as it is known."""
    try:
        settings, errors = read(frame.config)
        installed, _ = discover()
        found = [str(each) for error in errors for each in error.all]
        found += _misconfigured(settings, installed) if errors else _unconfigured(frame.application)
    except SettingsError as error:
        return [str(each) for each in error.all]
    return [*found, *_absent_plugins(settings, installed), *_disabled_requirements(settings)]


def _unconfigured(application: Application) -> Iterator[str]:
    return (p.text for p in application.problems if p.stage == "configure")


def _misconfigured(settings: Settings, installed: Mapping[str, Installed]) -> Iterator[str]:
    """Name what is wrong with the plugins' own tables where nothing can be composed, the core's
    tables being wrong too.
    """
    for name, each in installed.items():
        try:
            if settings.plugin(name).enabled:
                build(each, settings)
        except PluginFailed as failure:
            if failure.problem.stage == "configure":
                yield failure.problem.text


def leaves(frame: Frame) -> list[Leaf]:
    """List every value in force, by table. Raises `SettingsError`."""
    application = frame.application
    settings = application.settings
    given = frozenset(_given(frame.config))
    values = [
        *_walk("coe", settings.coe),
        *_walk("routing", settings.routing),
        *_models(application),
        *_walk("groups", settings.groups),
        *_plugins(frame),
    ]
    found = [_leaf(path, value, _origin(path, settings, given)) for path, value in values]
    return found + [
        Leaf(path=f"params.{name}", value=unstructure(value), origin=OPERATOR)
        for name, value in application.operator_params.items()
    ]


def _leaf(path: str, value: Any, origin: str) -> Leaf:
    secret = value if isinstance(value, Secret) else None
    return Leaf(path=path, value=unstructure(value), origin=origin, secret=secret)


def _absent_plugins(settings: Settings, installed: Collection[str]) -> Iterator[str]:
    """Name the plugins that the settings speak of and nobody installed."""
    named = {f"plugins.{name}": name for name in settings.plugins}
    named |= {f"coe.required_plugins.{name}": name for name in settings.coe.required_plugins}
    for path, name in named.items():
        if name not in installed:
            hint = nearest(name, installed)
            yield f"{settings.where(path)}: the plugin {name!r} is not installed{hint}"


def _disabled_requirements(settings: Settings) -> Iterator[str]:
    """Name the plugins that the settings require and switch off: such a server never starts."""
    for name in settings.coe.required_plugins:
        if not settings.plugin(name).enabled:
            where = settings.where(f"plugins.{name}.enabled")
            at = settings.where("coe.required_plugins")
            yield (
                f"{where}: the plugin {name!r} is switched off, and required by [coe] "
                f"required_plugins ({at}); switch it on, or require it no more"
            )


def _models(application: Application) -> Iterator[tuple[str, Any]]:
    for alias, model in application.settings.models.items():
        yield from _walk(f"models.{alias}", model)
        known = application.models.get(alias)
        # Options that their provider does not accept are shown as they were written.
        yield from _own(f"models.{alias}", known.options if known else model.options)


def _plugins(frame: Frame) -> Iterator[tuple[str, Any]]:
    for report in frame.application.plugins:
        table = frame.application.settings.plugin(report.name)
        yield from _walk(f"plugins.{report.name}", table)
        part = frame.parts.get(report.name)
        own = getattr(part.plugin, "settings", None) if part else table.options
        yield from _own(f"plugins.{report.name}", own)


def _own(path: str, options: Any) -> Iterator[tuple[str, Any]]:
    """Walk the keys of a table that are a provider's or a plugin's own, if there are any."""
    return _walk(path, options) if options else iter(())


def _walk(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    match value:
        case Mapping() if value:
            for name, inner in value.items():
                yield from _walk(f"{path}.{name}", inner)
        case _ if attrs.has(cls := type(value)) and cls is not Secret:
            for attribute in attrs.fields(cls):
                if not attribute.metadata.get("rest"):
                    yield from _walk(f"{path}.{attribute.name}", getattr(value, attribute.name))
        case _:
            yield path, value


def _given(config: Path | None) -> Iterator[str]:
    """Yield the paths of the leaves that the file sets."""
    if config is not None:
        tables = tomllib.loads(config.read_text(encoding="utf-8"))
        yield from (path.lstrip(".") for path, _ in _walk("", tables))


def _origin(path: str, settings: Settings, given: Container[str]) -> str:
    above = path
    while above:
        origin = settings.origins.get(above, "")
        if origin == OPERATOR or origin.startswith("env:"):
            return origin
        above = above.rpartition(".")[0]
    return settings.where(path) or "default" if path in given else "default"


def _text(value: Json) -> str:
    return "" if value is None else toml(value)
