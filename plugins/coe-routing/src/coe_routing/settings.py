"""`[plugins.routing]`: the routes, the rules, and how sure a router must be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from attrs import field, frozen
from attrs.validators import and_, ge, gt, le, min_len, optional

from coe_core.naming import naming
from coe_core.parameter import parameter
from coe_core.settings import nearest
from coe_routing.rule import RuleTable

SMALL_TALK = (
    "hello there",
    "tell me a joke",
    "what is the weather like today",
    "who won the match last night",
    "what should I cook tonight",
    "안녕하세요 반가워요",
    "농담 하나 해 줘",
    "오늘 날씨 어때",
    "어제 경기 누가 이겼어",
    "저녁에 뭐 먹지",
)
"""What no route is for unless the settings say otherwise."""
SHARE = and_(ge(0.0), le(1.0))


@frozen(kw_only=True)
class RouteTable:
    """`[plugins.routing.routes.NAME]`: a kind of request, and where it goes."""

    description: str = ""
    """What such requests are about, in a sentence; counts as half an example."""
    examples: tuple[str, ...] = ()
    """A few requests as people write them, in each of their languages."""
    model: str | None = naming("models")
    """The alias that answers."""
    models: tuple[str, ...] = naming("models", ())
    """Instead of `model`: several aliases, of which outcomes, cost and health choose one."""
    agent: str | None = naming("agents")
    """Instead of a model: the agent that answers."""
    tools: tuple[str, ...] | None = naming("tools")
    """The tools that are offered; left out, all that the group may use."""
    layers: tuple[str, ...] | None = None
    """The knowledge layers that are searched; left out, the group's own and `global`."""
    groups: tuple[str, ...] | None = None
    """The groups whose requests may take the route; left out, all."""

    def __attrs_post_init__(self) -> None:
        """Refuse a route to nowhere or to two places."""
        if (self.model is not None) + bool(self.models) + (self.agent is not None) != 1:
            msg = "a route has exactly one of model, models and agent"
            raise ValueError(msg)


@frozen(kw_only=True)
class QualityTable:
    """`[plugins.routing.quality]`: how recorded outcomes choose among models."""

    models: tuple[str, ...] = naming("models", ())
    """The aliases to choose from when no other router decides; none: the router then abstains."""
    tolerance: float = field(default=0.05, validator=SHARE)
    """How much less likely to succeed than the best a cheaper model may be, and still be taken."""
    prior_turns: float = field(default=10.0, validator=gt(0))
    """How many outcomes what is known of a wider circle (the group's kind of request, the kind,
    everything) weighs.
    """
    lookback_days: float = field(default=7.0, validator=ge(0))
    """How far back the log is read when the plugin opens."""


@frozen(kw_only=True)
class HealthTable:
    """`[plugins.routing.health]`: when a model is left alone for a while."""

    failures: int = field(default=3, validator=ge(1))
    """How many failures in a row begin a cooldown."""
    cooldown_s: float = field(default=30.0, validator=gt(0))
    """How long the first one lasts; each that follows without a success between lasts double."""
    longest_cooldown_s: float = field(default=600.0, validator=gt(0))
    """How long one lasts at most."""
    slow_s: float | None = field(default=None, validator=optional(gt(0)))
    """Above this mean time to the first token a model counts as overloaded; none: never."""


@frozen(kw_only=True)
class Settings:
    """The plugin's settings."""

    routes: Mapping[str, RouteTable] = field(factory=dict)
    """Kinds of requests by name, each a table: `[plugins.routing.routes.NAME]`."""
    routes_file: str | None = None
    """A TOML file with more of them, as tables `[NAME]`; read at the start."""
    rules: tuple[RuleTable, ...] = ()
    """Rules, tried in order; each a table `[[plugins.routing.rules]]`."""
    out_of_scope: tuple[str, ...] = SMALL_TALK
    """Requests that belong to no route: they teach the semantic router to abstain. Written, they
    replace the small talk that stands here.
    """
    unsure: Literal["default", "clarify"] = "default"
    """What follows when the semantic router is not sure: it leaves the decision to the others, or
    asks the user which of the likeliest routes is meant.
    """
    min_confidence: float = parameter(0.5, validator=SHARE)
    """How likely to be right the semantic router must be to decide."""
    second_embedder: str | None = naming("models", validator=optional(min_len(1)))
    """The alias of an embedder asked beside `[coe] embedder`: more accurate, and slower."""
    learn: bool = True
    """Whether the group's own feedback that names a route becomes examples for the group."""
    quality: QualityTable = field(factory=QualityTable)
    """How recorded outcomes choose among models."""
    health: HealthTable = field(factory=HealthTable)
    """When a model is left alone for a while."""

    def __attrs_post_init__(self) -> None:
        """Refuse a rule that names a route which is not there."""
        if self.routes_file is not None:
            return  # Then it is the file's to say, and it is read later.
        check_rules(self.rules, self.routes)


def check_rules(rules: tuple[RuleTable, ...], routes: Mapping[str, RouteTable]) -> None:
    """Raise `ValueError` for a rule to a route that is not there."""
    for rule in rules:
        if rule.route is not None and rule.route not in routes:
            hint = nearest(rule.route, routes)
            msg = f"the rule {rule.name!r} names the route {rule.route!r}, which is none{hint}"
            raise ValueError(msg)
