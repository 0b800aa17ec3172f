"""A turn: one request and its answer, and all that is decided about it before a model is called."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Literal, TypeAlias

from attrs import field, frozen

from coe_core.access import Principal
from coe_core.identity import SessionId, TurnId
from coe_core.message import Json, Message
from coe_core.parameter import Parameters
from coe_core.request import ChatRequest

if TYPE_CHECKING:
    from coe_core.application import Application
    from coe_core.budget import Budget
    from coe_core.ledger import Ledger


@frozen(kw_only=True)
class Candidate:
    """A target that a router weighed."""

    target: str
    score: float
    reason: str = ""


@frozen(kw_only=True)
class Route:
    """One decision: where a turn goes, which tools it is offered, which knowledge it sees.

    Exactly one of `model` (an alias) and `agent` is set. `tools` names the plugins' tools that are
    offered, None meaning all that the group may use; `layers` the knowledge layers that are
    searched, None meaning the group's own and `global`.
    """

    model: str | None = None
    agent: str | None = None
    confidence: float = 1.0
    reason: str = ""
    tools: tuple[str, ...] | None = None
    layers: tuple[str, ...] | None = None
    candidates: tuple[Candidate, ...] = ()
    router: str = ""
    """The router that decided; filled in by the engine."""
    name: str = ""
    """What the router calls the kind of request, `refunds` say, by which outcomes are counted; ""
    when it has no name for it.
    """

    def __attrs_post_init__(self) -> None:
        """Refuse a route to nowhere or to two places."""
        if (self.model is None) == (self.agent is None):
            msg = "a Route has either a model or an agent"
            raise ValueError(msg)

    @property
    def target(self) -> str:
        """The alias or the agent's name."""
        return self.model or self.agent or ""


GLOBAL = "global"
"""The layer that every group sees."""


def group_layer(group: str) -> str:
    """Return the layer that one group alone sees."""
    return f"group:{group}"


@frozen(kw_only=True)
class Place:
    """Where in its source a passage stands; what the source does not have is None or empty."""

    headings: tuple[str, ...] = ()
    """The headings above it, the outermost first."""
    page: int | None = None
    """Counted from 1."""
    first_line: int | None = None
    """Counted from 1."""
    last_line: int | None = None


@frozen(kw_only=True)
class Passage:
    """A piece of knowledge. Retrievers find passages, best first; a store of knowledge keeps them,
    and leaves out what belongs to a search: `score`, `reason`, `retriever`.
    """

    id: str
    text: str
    layer: str
    """`global` or `group:NAME`."""
    source: str
    """Where it comes from, fit to be cited."""
    score: float = 0.0
    reason: str = ""
    """Why it was found."""
    retriever: str = ""
    item: str = ""
    """The document, the card or the earlier turn that it is a piece of."""
    kind: str = ""
    """What that is: `document`, the kind of a card, `turn`."""
    title: str = ""
    language: str = ""
    """`ko`, `en`, ...; "" where it is not known."""
    position: int = 0
    """Its number among the passages of its item, from 0: neighbours stand beside it."""
    place: Place = Place()
    valid_until: datetime | None = None
    """From when on it is not to be found any more."""


@frozen(kw_only=True)
class Session:
    """The conversation that a turn belongs to, as far as it is known before the turn.

    `history` is what came before the new messages; when `carried` is true the client sent it
    itself. `follows` is the turn that this one continues: None for the first, and for a fork whose
    beginning is not in the record.
    """

    id: SessionId
    follows: TurnId | None = None
    history: tuple[Message, ...] = ()
    new_messages: tuple[Message, ...] = ()
    summary: str | None = None
    carried: bool = False


@frozen(kw_only=True)
class Turn:
    """What routers, guards, retrievers, tools and policies are told about a turn."""

    id: TurnId
    request: ChatRequest
    principal: Principal
    session: Session
    started_at: datetime
    """Aware, UTC."""
    deadline_s: float
    """On the clock's monotonic scale."""
    params: Parameters = field(factory=Parameters)
    headers: Mapping[str, str] = field(factory=dict, repr=False)
    """The request's headers in lower case, without credentials."""
    ledger: Ledger = field(repr=False)
    """Every call made for the turn so far."""
    budget: Budget = field(repr=False)
    """What pays for the calls; child turns draw on the same."""
    application: Application = field(repr=False, eq=False)
    """The composition that the turn runs in, whatever an operator switches meanwhile."""
    parent_id: TurnId | None = None
    root_id: TurnId | None = None
    depth: int = 0

    @property
    def group(self) -> str:
        """The group whose knowledge and budget the turn uses."""
        return self.principal.group


FailureClass: TypeAlias = Literal[
    "no_route", "wrong_route", "target_error", "timeout", "budget_denied", "fallback_used"
]


@frozen(kw_only=True)
class Outcome:
    """How a turn ended. `failed` without a `failure` class was the client's own error."""

    status: Literal["success", "failed", "cancelled", "waiting"]
    finish_reason: str | None = None
    failure: FailureClass | None = None
    error_code: str | None = None
    error: str | None = None


@frozen(kw_only=True)
class ToolRun:
    """One call of a plugin's tool, as it went."""

    id: str
    """The model's id for the call, also the idempotency key's last part."""
    tool: str
    arguments: Json
    result: Json = None
    error_code: str | None = None
    error: str | None = None
    duration_s: float = 0.0


@frozen(kw_only=True)
class GuardVerdict:
    """What a guard said of a step. `text` replaces the step's text when the verdict is `redact`."""

    verdict: Literal["allow", "redact", "refuse"] = "allow"
    reason: str = ""
    text: str | None = None
    guard: str = ""
    step: str = ""


ALLOW = GuardVerdict()
"""What a guard says of a step that it has nothing against."""
