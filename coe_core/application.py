"""An application: what one composition of settings and plugins came to, frozen.

The request path reads it and nothing else; a change by an operator composes a new one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, Literal, TypeAlias, TypeVar

from attrs import field, frozen

from coe_core import contract
from coe_core.access import Principal
from coe_core.error import Forbidden, MissingService, UnknownModel
from coe_core.http import HttpRoute
from coe_core.message import Json
from coe_core.model import Model
from coe_core.parameter import Origin, Parameter, Parameters, defaults, overlaid
from coe_core.settings import GroupTable, Settings, nearest
from coe_core.tool import CheckedTool

S = TypeVar("S")

Stage: TypeAlias = Literal["discover", "import", "configure", "register", "contribute", "open"]

AUTO = "auto"
"""The model name with which a client leaves the choice to the routers."""

DEFAULTS = GroupTable()
"""Of a group that the settings do not name."""


@frozen(kw_only=True)
class PluginProblem:
    """Why a plugin, or a part of it, does not work, and what to do."""

    plugin: str
    stage: Stage
    text: str
    mend: str

    def __str__(self) -> str:
        """Say it in one line."""
        end = "" if self.text.endswith("?") else "."
        return f"plugin {self.plugin}, {self.stage}: {self.text}{end} {self.mend}"


@frozen(kw_only=True)
class PluginReport:
    """What a plugin is and contributes, for people to read."""

    name: str
    distribution: str
    version: str
    enabled: bool
    contributes: Mapping[str, tuple[str, ...]] = field(factory=dict)
    """Kind (`routers`, `tools`, `services`, ...) to the names of its components."""
    disabled: tuple[str, ...] = ()
    """Components that are switched off, as `kind.name`."""


@frozen(kw_only=True, eq=False)
class Application:
    """Everything that is in force. Components are in the order in which they are asked."""

    settings: Settings
    plugins: tuple[PluginReport, ...]
    problems: tuple[PluginProblem, ...]
    services: Mapping[type[Any], Any]
    models: Mapping[str, Model]
    parameters: Mapping[str, Parameter]
    operator_params: Mapping[str, Json] = field(factory=dict)
    """What operators have set parameters to, over the settings file."""
    authenticators: tuple[contract.Authenticator, ...] = ()
    routers: tuple[contract.Router, ...] = ()
    model_providers: Mapping[str, contract.ModelProvider] = field(factory=dict)
    attempt_policies: tuple[contract.AttemptPolicy, ...] = ()
    tools: Mapping[str, CheckedTool] = field(factory=dict)
    retrievers: tuple[contract.Retriever, ...] = ()
    rerankers: tuple[contract.Reranker, ...] = ()
    summarizers: tuple[contract.Summarizer, ...] = ()
    prompt_packs: tuple[contract.PromptPack, ...] = ()
    promotion_policies: tuple[contract.PromotionPolicy, ...] = ()
    agents: Mapping[str, contract.Agent] = field(factory=dict)
    agent_protocols: tuple[contract.AgentProtocol, ...] = ()
    guards: tuple[contract.Guard, ...] = ()
    event_sinks: tuple[contract.EventSink, ...] = ()
    monitors: tuple[contract.Monitor, ...] = ()
    metric_sinks: tuple[contract.MetricSink, ...] = ()
    alert_sinks: tuple[contract.AlertSink, ...] = ()
    jobs: tuple[contract.Job, ...] = ()
    segment_jobs: tuple[contract.SegmentJob, ...] = ()
    experiments: tuple[contract.Experiment, ...] = ()
    alert_rules: tuple[contract.AlertRule, ...] = ()
    checks: tuple[contract.Check, ...] = ()
    cli_commands: tuple[Any, ...] = ()
    http_routes: tuple[HttpRoute, ...] = ()
    panels: tuple[contract.Panel, ...] = ()
    holds_keys: bool = False
    """Whether the state store has keys, which a plugin in force may read or not."""
    kept: frozenset[str] = frozenset()
    """The plugins that this process cannot do without, and does not let be switched off."""
    _params: dict[str | None, Parameters] = field(factory=dict, init=False)

    @property
    def wants_keys(self) -> bool:
        """Whether nobody is served without a key."""
        return self.holds_keys or any(getattr(a, "has_keys", True) for a in self.authenticators)

    @cached_property
    def resilience_policies(self) -> tuple[contract.ResiliencePolicy, ...]:
        """The attempt policies that are also asked before a call, and when a turn has failed."""
        policies = self.attempt_policies
        return tuple(p for p in policies if isinstance(p, contract.ResiliencePolicy))

    def need(self, service: Callable[..., S]) -> S:
        """Return the provider of a service, named by its Protocol. Raises `MissingService`."""
        try:
            provider: S = self.services[service]  # type: ignore[index]
        except KeyError:
            raise MissingService(f"no plugin provides {service.__name__}") from None
        return provider

    def group(self, name: str) -> GroupTable:
        """Return the settings of a group, the defaults for one that has none."""
        return self.settings.groups.get(name, DEFAULTS)

    def params(self, group: str | None = None) -> Parameters:
        """Return the parameters in force for a group, None meaning for what is no group's.

        Raises `InvalidField` for what the settings or an operator say wrong.
        """
        if (found := self._params.get(group)) is None:
            layers: dict[Origin, Mapping[str, Json]] = {"operator": self.operator_params}
            if group is not None:
                layers["group"] = self.group(group).params
            found = overlaid(defaults(self.parameters), self.parameters, layers)
            self._params[group] = found
        return found

    def allowed_models(self, principal: Principal) -> Mapping[str, Model]:
        """Return the aliases that the principal's group may use."""
        allowed = self.group(principal.group).models
        if allowed is None:
            return self.models
        return {alias: model for alias, model in self.models.items() if alias in allowed}

    def model(self, alias: str, principal: Principal) -> Model:
        """Return a model by alias. Raises `UnknownModel` with the nearest names, or `Forbidden`."""
        allowed = self.allowed_models(principal)
        if alias in allowed:
            return allowed[alias]
        if alias in self.models:
            raise Forbidden(f"the group {principal.group!r} may not use the model {alias!r}")
        known = [AUTO, *allowed]
        raise UnknownModel(
            f"there is no model {alias!r:.200}{nearest(alias, known)}; GET /v1/models lists them",
            param="model",
        )
