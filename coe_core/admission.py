"""Admission: from what a client asks to a turn, or a refusal before anything is spent."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from weakref import WeakValueDictionary

from attrs import evolve, field, frozen
from loguru import logger

from coe_core.access import Principal
from coe_core.application import AUTO, Application
from coe_core.budget import BudgetBook
from coe_core.error import InvalidField, NotFound
from coe_core.identity import SessionId, TurnId, uuid7
from coe_core.ledger import Ledger
from coe_core.message import Json
from coe_core.parameter import Origin, Parameters, overlaid
from coe_core.patience import in_time
from coe_core.rate import RateLimits, RateMeter
from coe_core.request import ChatRequest
from coe_core.service import Clock
from coe_core.session import recall
from coe_core.turn import Session, Turn


@frozen(kw_only=True)
class Ask:
    """What a client asks, and who it is."""

    request: ChatRequest
    principal: Principal
    session_id: SessionId | None = None
    """None: a session of its own."""
    follows: TurnId | None = None
    """Go on from exactly this turn; its session is the turn's."""
    turn_id: TurnId | None = None
    """The id that the turn gets, for who must know it beforehand; None: a new one."""
    headers: Mapping[str, str] = field(factory=dict, repr=False)
    params: Mapping[str, Json] = field(factory=dict)
    """Values of parameters for this request alone."""
    parent: Turn | None = None
    """The turn that this one is a part of: it pays."""


@frozen(kw_only=True)
class Admission:
    """An admitted turn, with what is known beside it."""

    turn: Turn
    limits: RateLimits | None
    exposures: Mapping[str, str]
    fault: Exception | None = None
    """Why the turn cannot go on as it should: its session could not be looked up."""


_running: WeakValueDictionary[tuple[str, str], asyncio.Lock] = WeakValueDictionary()
"""The sessions that have a turn running in this process."""


def in_order(ask: Ask) -> AbstractAsyncContextManager[None]:
    """Let the turns of a named session run one after the other."""
    if ask.session_id is None or ask.parent is not None:
        return nullcontext()
    return _running.setdefault((ask.principal.group, ask.session_id), asyncio.Lock())


def check(application: Application, ask: Ask) -> None:
    """Refuse what needs no waiting to be refused. Raises `UnknownModel`, `Forbidden` or
    `InvalidField`.
    """
    if ask.request.model == AUTO:
        return
    model = application.model(ask.request.model, ask.principal)
    if model.capability != "chat":
        raise InvalidField(f"the model {model.alias!r} only makes embeddings", param="model")


async def admit(application: Application, ask: Ask) -> Admission:
    """Make the turn. Raises `RateLimited`, `InvalidField` or `NotFound`."""
    clock = application.need(Clock)
    group = application.group(ask.principal.group)
    limits = await application.need(RateMeter).admit(ask.principal.group, group)
    session, fault = await _session(application, ask)
    turn_id = ask.turn_id or TurnId(uuid7())
    params, exposures = _params(application, ask, turn_id, session)
    return Admission(
        turn=_turn(application, ask, turn_id, session, params, clock),
        limits=limits,
        exposures=exposures,
        fault=fault,
    )


async def _session(application: Application, ask: Ask) -> tuple[Session, Exception | None]:
    """Find the session; when what keeps sessions fails, the turn has one of its own, and a fault:
    it is then recorded, and the last resort may still answer it.
    """
    try:
        looking = recall(
            application,
            ask.principal.group,
            ask.request.messages,
            session_id=ask.session_id,
            follows=ask.follows,
        )
        found = await in_time(application, "the session store", looking)
    except NotFound:
        raise
    except Exception as error:
        identity = ask.session_id or SessionId(uuid7())
        return Session(id=identity, new_messages=ask.request.messages), error
    return found, None


def _turn(
    application: Application,
    ask: Ask,
    turn_id: TurnId,
    session: Session,
    params: Parameters,
    clock: Clock,
) -> Turn:
    group = application.group(ask.principal.group)
    turn = Turn(
        id=turn_id,
        request=ask.request,
        principal=ask.principal,
        session=session,
        started_at=clock.now(),
        deadline_s=clock.monotonic_s() + application.settings.coe.turn_timeout_s,
        params=params,
        headers=ask.headers,
        ledger=Ledger(turn_id),
        budget=application.need(BudgetBook).budget(ask.principal.group, group.budget_usd_month),
        application=application,
        root_id=turn_id,
    )
    if (parent := ask.parent) is None:
        return turn
    return evolve(
        turn,
        budget=parent.budget,
        deadline_s=min(turn.deadline_s, parent.deadline_s),
        parent_id=parent.id,
        root_id=parent.root_id,
        depth=parent.depth + 1,
    )


def _params(
    application: Application, ask: Ask, turn_id: TurnId, session: Session
) -> tuple[Parameters, dict[str, str]]:
    exposures: dict[str, str] = {}
    under_test: dict[str, Json] = {}
    for experiment in application.experiments:
        try:
            arm = experiment.assign(turn_id, session.id, ask.principal.group)
            if arm is not None:
                under_test |= arm.params
                exposures[experiment.name] = arm.name
        except Exception as error:
            logger.bind(experiment=experiment.name).opt(exception=error).error("it raised")
    layers: dict[Origin, Mapping[str, Json]] = {"experiment": under_test, "request": ask.params}
    params = application.params(ask.principal.group)
    return overlaid(params, application.parameters, layers), exposures
