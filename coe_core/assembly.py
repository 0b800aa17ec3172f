"""Assembly: from what the plugins contributed to a frozen `Application`.

Settings and components meet here: models get their providers, routers their order; whatever names
something that is not there is a problem of the composition.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import attrs
from attrs import evolve

from coe_core.application import AUTO, Application, PluginProblem, PluginReport
from coe_core.contract import ModelProvider
from coe_core.error import InvalidField, SettingsError
from coe_core.model import Model
from coe_core.naming import Name, names
from coe_core.parameter import Parameter, declared
from coe_core.plugin import Installed
from coe_core.settings import ModelTable, nearest, structure_table
from coe_core.timeout import NAMES, Timeouts
from coe_core.tool import CheckedTool

if TYPE_CHECKING:
    from coe_core.compose import Composition

MODELS = "models"
"""The kind of an alias, which is no component of a plugin."""


def assemble(work: Composition, operator_params: Mapping[str, Any]) -> Application:
    """Make the application; what does not fit together is noted in `work`."""
    lists: dict[str, Any] = {
        kind: tuple(work.active(kind))
        for kind in work.kinds
        if kind not in ("routers", "model_providers", "tools", "agents")
    }
    providers = {provider.name: provider for provider in work.active("model_providers")}
    models = _models(work, providers)
    _check_names(work, models)
    parameters = _parameters(work)
    application = Application(
        settings=work.settings,
        plugins=_reports(work),
        problems=(),
        services=work.services,
        models=models,
        parameters=parameters,
        operator_params=_valid_params(work, parameters, operator_params),
        routers=tuple(_routers(work)),
        model_providers=providers,
        tools=_tools(work),
        agents={agent.name: agent for agent in work.active("agents")},
        **lists,
    )
    return evolve(application, problems=work.problems_found())


def _routers(work: Composition) -> list[Any]:
    """Return the routers, those that `[routing] order` names first; those of one plugin that it
    does not name stay in the order in which the plugin returned them.
    """
    order = work.settings.routing.order
    rank = {name: index for index, name in enumerate(order)}
    own = [router for part in work.parts.values() for router in part.components["routers"]]
    active = {id(router) for router in work.active("routers")}
    found = [router for router in own if id(router) in active]
    found.sort(key=lambda router: rank.get(router.name, len(order)))
    return found


def _tools(work: Composition) -> dict[str, CheckedTool]:
    """Return the tools with their compiled schemas."""
    checked = {id(t.tool): t for part in work.parts.values() for t in part.tools.values()}
    return {tool.name: checked[id(tool)] for tool in work.active("tools")}


def _models(work: Composition, providers: Mapping[str, ModelProvider]) -> dict[str, Model]:
    """Return every alias: what the providers offer, with the settings over it."""
    models: dict[str, Model] = {}
    for provider in providers.values():
        models |= {model.alias: model for model in provider.models()}
    for alias, table in work.settings.models.items():
        try:
            models[alias] = _model(work, alias, table, providers)
        except SettingsError as error:
            text = "; ".join(map(str, error.all))
            work.blame(table.provider, "configure", text, "Mend the settings.")
    return models


def _model(
    work: Composition, alias: str, table: ModelTable, providers: Mapping[str, ModelProvider]
) -> Model:
    path = f"models.{alias}"
    if alias == AUTO:
        raise SettingsError(
            f"[{path}] takes the name by which clients leave the choice to CoE; name it otherwise",
            where=work.settings.where(f"{path}.provider"),
        )
    if table.provider not in providers:
        hint = nearest(table.provider, providers)
        raise SettingsError(
            f"[{path}] there is no provider {table.provider!r}{hint}",
            where=work.settings.where(f"{path}.provider"),
        )
    provider = providers[table.provider]
    model = Model(
        alias=alias,
        provider=provider.name,
        name=table.model or alias,
        options=structure_table(provider.options, table.options, path, work.settings),
        capability=table.capability,
        price=table.price.price() if table.price is not None else None,
        context_tokens=table.context_tokens,
        max_output_tokens=table.max_output_tokens,
        timeouts=Timeouts.of(**{name: getattr(table, name) for name in NAMES}),
    )
    return provider.describe(model)


def _check_names(work: Composition, models: Mapping[str, Model]) -> None:
    """Note what the settings name and nothing is called. What is switched off has its name."""
    for name in _names(work):
        if name.kind == MODELS:
            known, mend = set(models), f"Write a [models.{name.text}] table."
        elif name.kind in work.kinds:
            known = {c.name for part in work.parts.values() for c in part.components[name.kind]}
            mend = "Correct the name, or install its plugin."
        else:
            continue
        if name.text not in known:
            where = work.settings.where(name.path) or "by default"
            text = f"{name.path} ({where}) names {name.text!r}, no {name.kind[:-1]}"
            work.blame("core", "configure", text + _instead(name.text, known), mend)


def _names(work: Composition) -> Iterator[Name]:
    """Yield the names in all settings; the default model too, which every deployment needs."""
    said = work.settings
    yield Name("routing.default", MODELS, said.routing.default)
    for alias, others in said.routing.fallbacks.items():
        at = f"routing.fallbacks.{alias}"
        yield from (Name(at, MODELS, each) for each in (alias, *others))
    yield from names("coe", said.coe)
    yield from names("routing", said.routing)
    yield from names("groups", said.groups)
    for plugin, part in work.parts.items():
        yield from names(f"plugins.{plugin}", getattr(part.plugin, "settings", None))


def _instead(name: str, known: Collection[str]) -> str:
    listed = f"; there are: {', '.join(sorted(known))}" if known else ""
    return nearest(name, known) or listed


def _parameters(work: Composition) -> dict[str, Parameter]:
    """Return the parameters that the core and the plugins declare, by name."""
    found = {own.name: own for own in declared("core", work.settings.coe)}
    for name, part in work.parts.items():
        settings = getattr(part.plugin, "settings", None)
        for parameter in declared(name, settings) if attrs.has(type(settings)) else ():
            if found.setdefault(parameter.name, parameter) is not parameter:
                text = f"another plugin already has a parameter {parameter.name!r}"
                work.blame(name, "contribute", text, "Rename the field.")
    return found


def _reports(work: Composition) -> tuple[PluginReport, ...]:
    """Describe every plugin that is installed."""
    return tuple(_report(work, installed) for installed in work.installed.values())


def _report(work: Composition, installed: Installed) -> PluginReport:
    name = installed.name
    part = work.parts.get(name)
    contributes: dict[str, tuple[str, ...]] = {}
    disabled: list[str] = []
    if part is not None and part.services:
        contributes["services"] = tuple(sorted(s.__name__ for s in part.services))
    for kind, components in part.components.items() if part is not None else ():
        if components:
            contributes[kind] = tuple(component.name for component in components)
        off = [c.name for c in components if not work.switched_on(name, kind, c)]
        disabled += [f"{kind}.{component}" for component in off]
    return PluginReport(
        name=name,
        distribution=installed.distribution,
        version=installed.version,
        enabled=work.settings.plugin(name).enabled,
        contributes=contributes,
        disabled=tuple(disabled),
    )


def _valid_params(
    work: Composition, parameters: Mapping[str, Parameter], values: Mapping[str, Any]
) -> dict[str, Any]:
    valid = {}
    for name, value in values.items():
        try:
            valid[name] = parameters[name].check(value)
        except KeyError:
            continue  # Of a plugin that is not in use just now.
        except InvalidField as error:
            work.problems.append(
                PluginProblem(
                    plugin=parameters[name].plugin,
                    stage="configure",
                    text=f"the operator's value is not valid: {error.message}",
                    mend="Set another.",
                )
            )
    return valid
