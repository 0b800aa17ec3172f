"""A case: one failure of the record, as a test (`specs/regress/case.schema.json`).

It holds what is needed to run the turn again, and nothing that a person could be known by.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Literal, TypeAlias

from attrs import field, frozen

from coe_core.message import Json, Message, ToolCall
from coe_core.model import Usage
from coe_core.record import Feedback, Pointer
from coe_core.request import ChatRequest
from coe_core.turn import FailureClass, Passage, Route

Format: TypeAlias = Literal["1"]
"""The version of the file's format."""

State: TypeAlias = Literal["candidate", "reviewed", "active", "retired"]
"""Nobody has looked at it; somebody has, and it is a known failure; it is mended, and must stay so;
it says nothing any more.
"""

Failed: TypeAlias = Literal[
    "no_route",
    "wrong_route",
    "target_error",
    "timeout",
    "budget_denied",
    "fallback_used",
    "low_confidence",
]
"""What went wrong: a failure class of the KPIs, or a decision that was unsure, and wrong."""


@frozen(kw_only=True)
class Context:
    """What the turn ran in, as far as a router, a policy or a budget may look at it."""

    group: str
    role: str = "member"
    started_at: datetime
    headers: Mapping[str, str] = field(factory=dict)
    history: tuple[Message, ...] = ()
    """The conversation before the request."""
    summary: str | None = None
    params: Mapping[str, Json] = field(factory=dict)
    """Parameters that somebody had set for the turn: an operator, an experiment, the request."""
    spent_usd: Decimal | None = None
    """What the group had spent of its month."""


@frozen(kw_only=True)
class Tried:
    """An attempt at the answer."""

    model: str
    error_code: str | None = None
    """None: it went well."""


@frozen(kw_only=True)
class Happened:
    """How the turn ended then."""

    status: str
    failure: FailureClass | None = None
    error_code: str | None = None
    attempts: tuple[Tried, ...] = ()


@frozen(kw_only=True)
class Expectation:
    """What should have been. All of it must hold."""

    ends: Literal["answered", "succeeded"] = "answered"
    """With a whole answer, whoever gave it; or with one of the target that was routed to."""
    goes_to: str | None = None
    """The alias, the agent or the name of the route that is right."""
    not_to: str | None = None
    """The same of one that is wrong."""


@frozen(kw_only=True)
class Fault:
    """How a call failed."""

    code: str
    message: str = ""


@frozen(kw_only=True)
class ModelCall:
    """What a provider gave back for one call. Calls of a model are answered in order."""

    model: str
    says: str = ""
    calls: tuple[ToolCall, ...] = ()
    finish_reason: str | None = None
    usage: Usage | None = None
    error: Fault | None = None
    """What it then failed with; None: it ended well."""
    took_s: float = 0.0


@frozen(kw_only=True)
class ToolAnswer:
    """What a tool of CoE's gave back."""

    tool: str
    arguments: Json
    result: Json = None
    error: str | None = None


@frozen(kw_only=True)
class Recording:
    """What the plugins' far sides gave back; vectors lie beside the cases (`vectors.jsonl`)."""

    models: tuple[ModelCall, ...] = ()
    tools: tuple[ToolAnswer, ...] = ()
    passages: tuple[Passage, ...] = ()
    otherwise: str | None = None
    """What a model would say that was not asked then: whoever mends the failure will ask another.
    None: asking one fails the case.
    """


@frozen(kw_only=True)
class Seen:
    """A turn that failed so."""

    turn_id: str
    at: datetime
    pointer: Pointer | None = None
    """Where in the log it lies."""
    said: tuple[Feedback, ...] = ()
    """Who said what of it, and when."""


@frozen(kw_only=True)
class Step:
    """A step of a case's life."""

    state: State
    at: datetime
    by: str
    """The name of the machine's user."""


@frozen(kw_only=True)
class Case:
    """A failure as a test."""

    format: Format = "1"
    id: str
    state: State = "candidate"
    failure: Failed
    request: ChatRequest
    context: Context
    decision: Route | None = None
    """What was decided then."""
    happened: Happened
    expect: Expectation
    recording: Recording
    reproduces: bool = True
    """Whether the replay failed as the turn did, when the case was made."""
    signature: str
    """Equal for failures that are the same: they are one case."""
    count: int = 1
    """How many turns failed so."""
    seen: tuple[Seen, ...] = ()
    """The newest of them."""
    history: tuple[Step, ...] = ()
