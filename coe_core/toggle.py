"""What operators change while the server runs, laid over the settings: toggles, and parameters.

They stand in the state store: `toggles/plugins/NAME` and `toggles/components/KIND.NAME` with true
or false, `params/NAME` with a value.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from attrs import evolve
from loguru import logger

from coe_core.application import Application
from coe_core.error import Conflict
from coe_core.message import Json
from coe_core.record import StateChange
from coe_core.service import Clock
from coe_core.settings import PluginTable, Settings

_PLUGINS = "toggles/plugins/"
_COMPONENTS = "toggles/components/"
_PARAMS = "params/"

PREFIXES = ("toggles/", _PARAMS)
"""Where the state store has them."""


def plugin_toggle(name: str) -> str:
    """Return the key of the toggle of a plugin."""
    return _PLUGINS + name


def component_toggle(component: str) -> str:
    """Return the key of the toggle of a component, `KIND.NAME`."""
    return _COMPONENTS + component


def operator_param(name: str) -> str:
    """Return the key of an operator's value of a parameter."""
    return _PARAMS + name


def check(application: Application, key: str, value: Json) -> None:
    """Raise `Conflict` where a plugin is switched off that is required, or that the process cannot
    do without.
    """
    if value is not False or key not in map(plugin_toggle, application.kept):
        return
    name = key.removeprefix(_PLUGINS)
    if name in application.settings.coe.required_plugins:
        raise Conflict(
            f"the plugin {name!r} is required: take it out of [coe] required_plugins first"
        )
    raise Conflict(
        f"the plugin {name!r} cannot be switched off over itself: stop the server, then `coe "
        f"plugins disable {name}`; where it keeps the switches, enabled = false in its table"
    )


async def record(application: Application, key: str, value: Json, actor: str) -> None:
    """Record a change of owned state."""
    from coe_core.engine import keep

    at = application.need(Clock).now()
    await keep(application, StateChange(key=key, value=value, actor=actor, at=at))


def without(state: Mapping[str, Json], kept: Collection[str]) -> dict[str, Json]:
    """Leave out the toggles that switch off what is to be kept."""
    ignored = {plugin_toggle(name) for name in kept}
    for key in ignored & state.keys():
        if state[key] is False:
            logger.bind(toggle=key).warning("a plugin that serves is switched off after a restart")
    return {k: value for k, value in state.items() if value is not False or k not in ignored}


def with_toggles(
    settings: Settings, state: Mapping[str, Json], installed: Iterable[str]
) -> Settings:
    """Lay the toggles over the settings, with the origin `operator`."""
    plugins, origins = dict(settings.plugins), dict(settings.origins)
    for key, value in state.items():
        on = value is not False
        if key.startswith(_PLUGINS):
            name = key.removeprefix(_PLUGINS)
            plugins[name] = evolve(plugins.get(name, PluginTable()), enabled=on)
            origins[f"plugins.{name}.enabled"] = "operator"
        elif key.startswith(_COMPONENTS):
            component = key.removeprefix(_COMPONENTS)
            for name in installed:  # Whose it is, is not known: its name is unique in its kind.
                table = plugins.get(name, PluginTable())
                plugins[name] = evolve(table, components={**table.components, component: on})
                origins[f"plugins.{name}.components.{component}"] = "operator"
    return evolve(settings, plugins=plugins, origins=origins)


def operator_params(state: Mapping[str, Json]) -> dict[str, Json]:
    """Return the parameters that operators have set, by name."""
    return {
        key.removeprefix(_PARAMS): value for key, value in state.items() if key.startswith(_PARAMS)
    }
