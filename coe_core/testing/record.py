"""Records as the engine writes them, for what reads them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from coe_core.identity import AttemptId, SessionId, TurnId, uuid7
from coe_core.ledger import Attempt
from coe_core.record import Interaction
from coe_core.turn import Outcome


def make_attempt(model: str = "small", **fields: Any) -> Attempt:
    """Make an attempt at a chat that took half a second; `fields` are any others of `Attempt`."""
    told: dict[str, Any] = {
        "id": AttemptId(uuid7()),
        "purpose": "chat",
        "provider": "openai",
        "name": model,
        "started_at": datetime.now(UTC),
        "duration_s": 0.5,
    }
    return Attempt(model=model, **(told | fields))


def make_interaction(**fields: Any) -> Interaction:
    """Make the record of a turn that went well at once; `fields` are any of `Interaction`."""
    turn_id = fields.get("id", TurnId(uuid7()))
    started_at = fields.get("started_at", datetime.now(UTC))
    told: dict[str, Any] = {
        "id": turn_id,
        "root_id": turn_id,
        "group": "default",
        "session": SessionId("s"),
        "started_at": started_at,
        "ended_at": started_at,
        "requested_model": "auto",
        "request_sha256": "0" * 64,
        "new_messages": (),
        "outcome": Outcome(status="success"),
    }
    return Interaction(**(told | fields))
