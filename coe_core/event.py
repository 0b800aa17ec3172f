"""What the engine yields while a turn runs, in this order.

`Admitted`, `Routed`, `Retrieved` if anything was found, then for each attempt `AttemptStarted`,
`Delta`s and `AttemptEnded`, between attempts `ToolStarted` and `ToolEnded` for each tool that CoE
runs, and at last `TurnEnded`. What an attempt policy had held back follows the `AttemptEnded` of an
answer that is whole. An attempt made on the side (a router's embedding, a summary) gives
an `AttemptEnded` alone. A turn that fails ends with `TurnFailed` instead. Either way the record is
on disk by then, unless the disk itself is why the turn failed.
"""

from __future__ import annotations

from typing import TypeAlias

from attrs import frozen

from coe_core.error import CoeError
from coe_core.identity import AttemptId
from coe_core.ledger import Attempt
from coe_core.message import Json
from coe_core.model import Chunk, Usage
from coe_core.rate import RateLimits
from coe_core.record import Interaction
from coe_core.turn import Passage, Route, ToolRun, Turn


@frozen(kw_only=True)
class Admitted:
    """The turn exists: its id and session are known."""

    turn: Turn
    limits: RateLimits | None = None
    """What the group has left of its requests and tokens per minute, if it has limits."""


@frozen(kw_only=True)
class Routed:
    """The decision where the turn goes."""

    route: Route


@frozen(kw_only=True)
class Retrieved:
    """The passages that enter the prompt, best first."""

    passages: tuple[Passage, ...]


@frozen(kw_only=True)
class AttemptStarted:
    """A model is about to be called."""

    id: AttemptId
    model: str


@frozen(kw_only=True)
class Delta:
    """A piece of the answer for the client. Never carries a finish reason or usage: those come
    with `TurnEnded`, once the record is on disk.
    """

    chunk: Chunk


@frozen(kw_only=True)
class AttemptEnded:
    """A call ended, well or not."""

    attempt: Attempt


@frozen(kw_only=True)
class ToolStarted:
    """A plugin's tool is about to be called with validated arguments."""

    id: str
    tool: str
    arguments: Json


@frozen(kw_only=True)
class ToolEnded:
    """A plugin's tool returned or failed."""

    run: ToolRun


@frozen(kw_only=True)
class TurnEnded:
    """The turn is whole and its record is on disk: the finish reason may be sent."""

    record: Interaction
    finish_reasons: tuple[str, ...]
    """One per choice."""
    usage: Usage
    """What the client is told: the tokens of the attempts that made its answer."""
    model: str
    """The alias that answered."""


@frozen(kw_only=True)
class TurnFailed:
    """The turn failed. Its record is on disk, unless the error is the journal's own."""

    record: Interaction
    error: CoeError


Event: TypeAlias = (
    Admitted
    | Routed
    | Retrieved
    | AttemptStarted
    | Delta
    | AttemptEnded
    | ToolStarted
    | ToolEnded
    | TurnEnded
    | TurnFailed
)
