"""The switch `fallback_to_openai`, and how everything of this plugin stands.

The switch is an operator's value of the parameter: kept in the state store, seen by every worker,
over the settings file, recorded with who made it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from attrs import field, frozen

from coe_core.application import Application
from coe_core.error import Conflict
from coe_core.service import Clock, Deployment, StateStore
from coe_core.toggle import operator_param
from coe_fallback.breaker import State
from coe_fallback.exchange import PREFIX, read
from coe_fallback.settings import Settings

NAME = "fallback_to_openai"


@frozen(kw_only=True)
class BreakerStanding:
    """A target that is left alone, or is tried by one call at a time."""

    state: State
    failures: int
    """In a row."""
    until: datetime | None = None
    """When it is tried again."""


@frozen(kw_only=True)
class Standing:
    """How the fallback stands."""

    fallback_to_openai: bool
    """Whether the last resort is on."""
    origin: str
    """Who says so: `operator` or `settings`."""
    openai: str | None
    """The alias of the last resort."""
    problem: str | None = None
    """Why it cannot be switched on."""
    local: str | None
    """The alias that answers when every declared fallback has failed."""
    breakers: Mapping[str, BreakerStanding] = field(factory=dict)
    """By alias, those that are not closed, as all workers share them."""


async def standing(application: Application, settings: Settings) -> Standing:
    """Look how it stands: as an operator has switched it last, though it may take a second to be
    in force everywhere.
    """
    said = (await application.need(StateStore).get(operator_param(NAME))).value
    return Standing(
        fallback_to_openai=settings.fallback_to_openai if said is None else bool(said),
        origin="settings" if said is None else "operator",
        openai=settings.openai,
        problem=_problem(application, settings),
        local=settings.local,
        breakers=await _breakers(application),
    )


async def switch(application: Application, settings: Settings, *, on: bool, actor: str) -> None:
    """Switch the last resort on or off. Raises `Conflict` where there is none to be switched on."""
    if on and (problem := _problem(application, settings)) is not None:
        raise Conflict(f"{problem}: set it to the alias that is to answer")
    await application.need(Deployment).change(operator_param(NAME), on, actor=actor)


def _problem(application: Application, settings: Settings) -> str | None:
    if settings.openai in application.models:
        return None
    named = f"names {settings.openai!r}, which is no model" if settings.openai else "is not set"
    return f"[plugins.fallback] openai {named}"


async def _breakers(application: Application) -> dict[str, BreakerStanding]:
    breakers = read(await application.need(StateStore).list(PREFIX))
    now = application.need(Clock).now()
    return {
        alias: BreakerStanding(state=b.state(now), failures=b.failures, until=b.until)
        for alias, b in breakers.items()
        if b.state(now) != "closed"
    }
