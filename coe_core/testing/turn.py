"""Turns as the engine makes them, for components that are tested by themselves."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from coe_core import service
from coe_core.access import LOCAL, Principal
from coe_core.application import Application
from coe_core.budget import Budget, BudgetBook
from coe_core.caller import ModelCaller, ModelEmbedder
from coe_core.clock import SystemClock
from coe_core.ephemeral import EphemeralRecords
from coe_core.identity import SessionId, TurnId, uuid7
from coe_core.ledger import Ledger
from coe_core.message import user
from coe_core.parameter import Parameters
from coe_core.request import ChatRequest
from coe_core.settings import Settings
from coe_core.testing.memory import MemoryStateStore
from coe_core.testing.scripted import ScriptedProvider
from coe_core.testing.standing import StandingDeployment
from coe_core.turn import Session, Turn

TURN_TIMEOUT_S = 600.0


def make_budget(group: str = "default", limit_usd: Decimal | None = None) -> Budget:
    """Make a budget of its own; without a limit it pays for anything."""
    return BudgetBook(MemoryStateStore(), SystemClock()).budget(group, limit_usd)


def empty_application(**fields: Any) -> Application:
    """Make an application without plugins or models; `fields` are any of `Application`."""
    empty: dict[str, Any] = {
        "plugins": (),
        "problems": (),
        "services": {},
        "models": {},
        "parameters": {},
    }
    return Application(**({"settings": Settings()} | empty | fields))


def scripted_application(provider: ScriptedProvider | None = None) -> Application:
    """Make an application with a scripted provider, its models, and a caller of them."""
    provider = provider or ScriptedProvider()
    clock, records, store = SystemClock(), EphemeralRecords(), MemoryStateStore()
    caller = ModelCaller(clock)
    services: dict[type[Any], Any] = {}
    application = empty_application(
        models={model.alias: model for model in provider.models()},
        model_providers={provider.name: provider},
        services=services,
    )
    services.update(
        {
            BudgetBook: BudgetBook(store, clock),
            service.Caller: caller,
            service.Clock: clock,
            service.Deployment: StandingDeployment(application),
            service.Embedder: ModelEmbedder(f"{provider.name}-embed", caller),
            service.Journal: records,
            service.RecordReader: records,
            service.SessionStore: records,
            service.StateStore: store,
        }
    )
    return application


def make_turn(
    text: str = "Hello",
    *,
    request: ChatRequest | None = None,
    principal: Principal = LOCAL,
    application: Application | None = None,
    params: Parameters | None = None,
    limit_usd: Decimal | None = None,
    **fields: Any,
) -> Turn:
    """Make a turn in which a user says `text`, or that asks for `request`.

    `limit_usd` bounds its budget; `fields` are any others of `Turn`.
    """
    asked = request or ChatRequest(model="auto", messages=(user(text),))
    turn_id = fields.get("id", TurnId(uuid7()))
    told: dict[str, Any] = {
        "id": turn_id,
        "request": asked,
        "principal": principal,
        "session": Session(id=SessionId(uuid7()), new_messages=asked.messages),
        "started_at": datetime.now(UTC),
        "deadline_s": time.monotonic() + TURN_TIMEOUT_S,
        "params": params or Parameters(),
        "ledger": Ledger(turn_id),
        "budget": make_budget(principal.group, limit_usd),
        "application": application or empty_application(),
        "root_id": turn_id,
    }
    return Turn(**(told | fields))
