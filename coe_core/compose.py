"""Composition: settings and plugins in, a frozen `Application` out.

It opens nothing and never raises for a plugin's fault. A plugin that was composed before from the
same settings and was given the same services is taken over with all of its components, so that
what an operator did not touch goes on undisturbed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

import click
from attrs import define, field, frozen

from coe_core import contract, service
from coe_core.application import Application, PluginProblem, Stage
from coe_core.assembly import assemble
from coe_core.error import CoeError, MissingService
from coe_core.http import HttpRoute
from coe_core.plugin import Installed, PluginFailed, build, implementations, provides, violations
from coe_core.service import Service
from coe_core.settings import Settings, nearest
from coe_core.tool import CheckedTool

S = TypeVar("S")

CONTRACTS: Mapping[str, type[Any]] = {
    "authenticators": contract.Authenticator,
    "routers": contract.Router,
    "model_providers": contract.ModelProvider,
    "attempt_policies": contract.AttemptPolicy,
    "tools": contract.Tool,
    "retrievers": contract.Retriever,
    "rerankers": contract.Reranker,
    "summarizers": contract.Summarizer,
    "prompt_packs": contract.PromptPack,
    "promotion_policies": contract.PromotionPolicy,
    "agents": contract.Agent,
    "agent_protocols": contract.AgentProtocol,
    "guards": contract.Guard,
    "event_sinks": contract.EventSink,
    "monitors": contract.Monitor,
    "metric_sinks": contract.MetricSink,
    "alert_sinks": contract.AlertSink,
    "jobs": contract.Job,
    "segment_jobs": contract.SegmentJob,
    "experiments": contract.Experiment,
    "alert_rules": contract.AlertRule,
    "checks": contract.Check,
    "cli_commands": click.Command,
    "http_routes": HttpRoute,
    "panels": contract.Panel,
}
"""Kind of component, its hook's name without `coe_`, to the contract."""

SERVICES: tuple[type[Any], ...] = (
    service.Clock,
    service.Journal,
    service.RecordReader,
    service.SessionStore,
    service.StateStore,
    service.Database,
    service.KnowledgeStore,
    service.KnowledgeIndex,
    service.Deployment,
    service.Scheduler,
    service.Caller,
    service.Embedder,
)


@define
class Context:
    """What a hook is called with."""

    name: str
    """The plugin's own name."""
    data_dir: Path
    _settings: Settings
    _need: Callable[[type[Any]], Any]
    _read_settings: bool = field(default=False, init=False)

    @property
    def settings(self) -> Settings:
        """The whole deployment's settings. A plugin that reads them is composed anew whenever any
        of them changes; its own are handed to its class.
        """
        self._read_settings = True
        return self._settings

    def need(self, wanted: Callable[..., S]) -> S:
        """Return a service. Raises `MissingService`, which becomes the plugin's problem.

        `wanted` is the service's Protocol; typed as a callable because mypy takes a Protocol for
        no `type[S]` (its error type-abstract).
        """
        return cast("S", self._need(cast("type[S]", wanted)))


@define
class Part:
    """One plugin as it was composed, with all that decides whether it can be taken over."""

    installed: Installed
    options: Mapping[str, Any]
    plugin: Any
    components: dict[str, list[Any]] = field(factory=dict)
    """Kind to the components that satisfy their contract, switched off or not."""
    tools: dict[str, CheckedTool] = field(factory=dict)
    services: dict[type[Any], Any] = field(factory=dict)
    needs: dict[type[Any], Any] = field(factory=dict)
    """The services that it asked for, to what it was given; to None where nobody has one."""
    settings: Settings | None = None
    """The deployment's settings, if the plugin read them."""
    problems: list[PluginProblem] = field(factory=list)

    def blame(self, text: str, mend: str) -> None:
        """Note a problem of this plugin's contribution, once: several hooks may meet it."""
        problem = self.installed.problem("contribute", text, mend)
        if problem not in self.problems:
            self.problems.append(problem)


@define
class Composition:
    """The work of composing; `compose` runs it."""

    settings: Settings
    installed: Mapping[str, Installed]
    engine_services: Mapping[type[Any], Any]
    data_dir: Path
    reused: Mapping[str, Part]
    kinds: Collection[str] = tuple(CONTRACTS)
    parts: dict[str, Part] = field(factory=dict, init=False)
    services: dict[type[Any], Any] = field(factory=dict, init=False)
    problems: list[PluginProblem] = field(factory=list, init=False)
    _pending: list[Part] = field(factory=list, init=False)

    def run(self) -> None:
        """Build the parts, then their services, then their components."""
        fresh = self.build_parts()
        while self._pending:
            self._compose_services(self._pending.pop(0))
        self.services = {**self.engine_services, **self.services}
        for part in fresh:
            for kind in self.kinds:
                self.ask(part, kind)

    def ask(self, part: Part, kind: str) -> None:
        """Ask a part for its components of a kind. The services that it needs for them are
        composed now if they have not been.
        """
        found = self._call(part, f"coe_{kind}")
        part.components[kind] = [each for each in found if _fits(part, kind, each)]

    def stale(self) -> set[str]:
        """Name the parts taken over whose services are no longer the ones they were given."""
        return {
            name
            for name, part in self.reused.items()
            if any(self.services.get(wanted) is not given for wanted, given in part.needs.items())
        }

    def build_parts(self) -> Sequence[Part]:
        """Import and configure the plugins; return those that were not taken over."""
        for name in self.settings.plugins.keys() - self.installed.keys():
            text = f"no such plugin is installed{nearest(name, self.installed)}"
            mend = f"Install it, or remove [plugins.{name}]."
            self.blame(name, "discover", text, mend)
        for name, installed in self.installed.items():
            table = self.settings.plugin(name)
            if not table.enabled:
                continue
            try:
                self.parts[name] = self.reused.get(name) or Part(
                    installed, table.options, build(installed, self.settings)
                )
            except PluginFailed as failure:
                self.problems.append(failure.problem)
        for name, part in self.parts.items():
            if name in self.reused:
                self._offer(part)
        self._pending = [part for name, part in self.parts.items() if name not in self.reused]
        return tuple(self._pending)

    def _compose_services(self, part: Part, *, may_wait: bool = False) -> None:
        """Take in what a part provides. Where it `may_wait`, one that lacks a service raises
        `MissingService`, and is not blamed.
        """
        for offer in self._call(part, "coe_services", may_wait=may_wait):
            if not isinstance(offer, Service) or offer.contract not in SERVICES:
                text = f"coe_services returned {offer!r:.80}, no Service of a known contract"
                part.blame(text, "Return Service(contract=..., provider=...).")
                continue
            if not provides(type(part.plugin), offer.contract):
                # It is taken all the same: without its journal turns would be forgotten.
                text = f"its `provides` does not name {offer.contract.__name__}, which it provides"
                part.blame(text, "Name it there, or leave `provides` out.")
            if broken := violations(offer.provider, offer.contract):
                text = f"its {offer.contract.__name__} is none: {'; '.join(broken)}"
                part.blame(text, "Make it satisfy the contract.")
            else:
                part.services[offer.contract] = offer.provider
        self._offer(part)

    def _offer(self, part: Part) -> None:
        for wanted, provider in part.services.items():
            if self.services.setdefault(wanted, provider) is not provider:
                text = f"another plugin already provides {wanted.__name__}"
                self.blame(part.installed.name, "contribute", text, "Disable one of the two.")

    def _need(self, part: Part, wanted: type[Any]) -> Any:
        """Find a service for a part, composing the plugins that may provide it first."""
        waiting = []
        while wanted not in self.services and self._pending:
            other = self._pending.pop(0)
            try:
                self._compose_services(other, may_wait=True)
            except MissingService:  # It may lack what somebody provides who is waiting himself.
                waiting.append(other)
        self._pending += waiting
        provider = self.services.get(wanted, self.engine_services.get(wanted))
        part.needs[wanted] = provider
        if provider is None:
            raise MissingService(f"no plugin provides the service {wanted.__name__}")
        return provider

    def _call(self, part: Part, hook: str, *, may_wait: bool = False) -> list[Any]:
        method = implementations(part.plugin).get(hook)
        if method is None:
            return []
        context = Context(
            part.installed.name,
            self.data_dir,
            self.settings,
            lambda wanted: self._need(part, wanted),
        )
        try:
            return list(method(context))
        except MissingService as error:
            if may_wait:
                raise
            mend = "Install or enable a plugin that does."
            part.blame(error.message, mend)
        except CoeError as error:
            part.blame(f"{hook}: {error.message}", "Mend what it says.")
        except Exception as error:
            text = f"{hook} raised {type(error).__name__}: {error}"
            part.blame(text, "Report it to its authors.")
        finally:
            if context._read_settings:  # noqa: SLF001 the property's other half
                part.settings = self.settings
        return []

    def blame(self, plugin: str, stage: Stage, text: str, mend: str) -> None:
        """Note a problem that no part has of its own."""
        self.problems.append(PluginProblem(plugin=plugin, stage=stage, text=text, mend=mend))

    def problems_found(self) -> tuple[PluginProblem, ...]:
        """Return every problem, those of the composition itself first."""
        own = [problem for part in self.parts.values() for problem in part.problems]
        return (*self.problems, *own)

    def active(self, kind: str) -> list[Any]:
        """Return the components of a kind that are switched on, by name."""
        chosen: dict[str, Any] = {}
        for name, part in self.parts.items():
            for component in part.components[kind]:
                if not self.switched_on(name, kind, component):
                    continue
                if chosen.setdefault(component.name, component) is not component:
                    text = f"{kind} already have a {component.name!r}, of another plugin"
                    mend = f"Set [plugins.{name}.components] '{kind}.{component.name}' = false."
                    self.blame(name, "contribute", text, mend)
        return [chosen[name] for name in sorted(chosen)]

    def switched_on(self, plugin: str, kind: str, component: Any) -> bool:
        """Whether settings and toggles leave a component of a plugin on."""
        components = self.settings.plugin(plugin).components
        return components.get(f"{kind}.{component.name}", True)


def _fits(part: Part, kind: str, component: Any) -> bool:
    """Whether a component satisfies its contract; if not, the part is blamed."""
    expected = CONTRACTS[kind]
    if getattr(expected, "_is_protocol", False):
        broken = violations(component, expected)
    else:
        broken = [] if isinstance(component, expected) else ["it is of another type"]
    if broken:
        text = f"coe_{kind} returned {component!r:.80}, no {expected.__name__}: {'; '.join(broken)}"
        part.blame(text, "Make it satisfy the contract.")
        return False
    if kind != "tools":
        return True
    try:
        part.tools[component.name] = CheckedTool.compile(component)
    except Exception as error:
        text = f"a schema of the tool {component.name!r} is not JSON Schema: {error}"
        part.blame(text.splitlines()[0], "Mend the schema.")
        return False
    return True


def compose(
    settings: Settings,
    *,
    installed: Mapping[str, Installed],
    engine_services: Mapping[type[Any], Any],
    data_dir: Path,
    previous: Mapping[str, Part] | None = None,
    operator_params: Mapping[str, Any] | None = None,
    kinds: Collection[str] = tuple(CONTRACTS),
) -> tuple[Application, Mapping[str, Part]]:
    """Compose an application, and return it with its parts, for the next composition.

    Pure: the same input gives an equal result, and nothing is opened. The plugins are asked for
    components of these `kinds` alone.
    """
    reused = {
        name: part
        for name, part in (previous or {}).items()
        if part.installed == installed.get(name)
        and part.options == settings.plugin(name).options
        and settings.plugin(name).enabled
        and part.settings in (None, settings)
    }
    while True:
        work = Composition(settings, installed, engine_services, data_dir, reused, kinds)
        work.run()
        if not (stale := work.stale()):
            break
        reused = {name: part for name, part in reused.items() if name not in stale}
    return assemble(work, operator_params or {}), work.parts


@frozen(kw_only=True)
class PluginCommands:
    """The plugins' subcommands, and why some may be missing."""

    commands: Sequence[click.Command]
    disabled: Sequence[str]
    """The plugins that are switched off."""
    problems: Sequence[PluginProblem]


def compose_commands(
    settings: Settings,
    *,
    installed: Mapping[str, Installed],
    engine_services: Mapping[type[Any], Any],
    data_dir: Path,
) -> PluginCommands:
    """Ask the plugins for their subcommands and for nothing else, so that `coe --help` does not
    wait for what a server needs.
    """
    work = Composition(settings, installed, engine_services, data_dir, {})
    for part in work.build_parts():
        work.ask(part, "cli_commands")
    return PluginCommands(
        commands=work.active("cli_commands"),
        disabled=[name for name in installed if not settings.plugin(name).enabled],
        problems=work.problems_found(),
    )
