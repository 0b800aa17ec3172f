"""The routes of a deployment: those of the settings, and those of a file of their own."""

from __future__ import annotations

import tomllib
from pathlib import Path

from coe_core.error import SettingsError
from coe_core.settings import Settings as Deployment
from coe_core.settings import structure_table
from coe_routing.settings import RouteTable, Settings, check_rules

NO_ORIGINS = Deployment()


def all_routes(settings: Settings) -> dict[str, RouteTable]:
    """Return every route by name. Raises `SettingsError` when the file cannot be read, does not
    fit, or has a route that the settings have too, or when a rule names a route of neither.
    """
    routes = dict(settings.routes)
    if settings.routes_file is None:
        return routes
    for name, table in read_routes(Path(settings.routes_file)).items():
        if name in routes:
            text = f"the route {name!r} is in the settings too; rename one of the two"
            raise SettingsError(text, where=settings.routes_file)
        routes[name] = table
    try:
        check_rules(settings.rules, routes)
    except ValueError as error:
        raise SettingsError(str(error)) from error
    return routes


def read_routes(file: Path) -> dict[str, RouteTable]:
    """Read a file of routes, one table each."""
    try:
        tables = tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except OSError as error:
        text = f"[plugins.routing] routes_file cannot be read: {error.strerror}"
        raise SettingsError(text, where=str(file)) from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"this is not valid TOML: {error}", where=str(file)) from error
    try:
        return {n: structure_table(RouteTable, table, n, NO_ORIGINS) for n, table in tables.items()}
    except SettingsError as error:
        raise SettingsError(error.message, where=str(file)) from error
