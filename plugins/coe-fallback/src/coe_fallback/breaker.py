"""Breakers: who has failed too often is left alone for a while, then tried by one call at a time.

The pattern is M. Nygard's (Release It!, 2007). A breaker is a value: what happens makes another
one, so that it can be kept in a state store as well as in memory.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Literal, TypeAlias

from attrs import define, evolve, field, frozen

from coe_core.codec import unstructure
from coe_core.error import (
    CoeError,
    ContextTooLong,
    UpstreamDenied,
    UpstreamOverloaded,
    UpstreamRejected,
)
from coe_core.message import Json
from coe_core.service import Clock, StateStore

State: TypeAlias = Literal["closed", "open", "half_open"]

PREFIX = "breakers/"
"""Where the state store has the breakers that are not closed, by alias."""


@frozen(kw_only=True)
class Rules:
    """When a breaker opens, and for how long."""

    failures: int = 5
    """So many in a row open it."""
    open_s: float = 15.0
    """For how long, twice as long each time that the try after it fails too."""
    longest_open_s: float = 300.0
    probe_s: float = 30.0
    """A try that has told nothing for so long is given up, and another may follow."""


@frozen(kw_only=True)
class Breaker:
    """The breaker of one target."""

    failures: int = 0
    """In a row."""
    openings: int = 0
    """In a row, without a success between them."""
    until: datetime | None = None
    """Open until then, half open after it; None: closed."""
    probe_until: datetime | None = None
    """A call is trying the target until then."""

    def state(self, now: datetime) -> State:
        """Say how it stands."""
        if self.until is None:
            return "closed"
        return "open" if now < self.until else "half_open"

    def admits(self, now: datetime) -> bool:
        """Whether a call may go to the target."""
        match self.state(now):
            case "closed":
                return True
            case "open":
                return False
            case "half_open":
                return self.probe_until is None or now >= self.probe_until

    def entered(self, now: datetime, rules: Rules) -> Breaker:
        """Let a call go to the target; half open, it is the only one."""
        if self.state(now) != "half_open":
            return self
        return evolve(self, probe_until=now + timedelta(seconds=rules.probe_s))

    def succeeded(self, now: datetime) -> Breaker:
        """Close, unless the call is one from before it opened."""
        return self if self.state(now) == "open" else Breaker()

    def failed(self, now: datetime, rules: Rules, pause_s: float = 0.0) -> Breaker:
        """Count a failure. An upstream that asks for a pause gets it, at once."""
        count = self.failures + 1
        state = self.state(now)
        asked = now + timedelta(seconds=min(pause_s, rules.longest_open_s))
        if state == "open" and self.until is not None:
            return evolve(self, failures=count, until=max(self.until, asked))
        if state == "closed" and count < rules.failures and not pause_s:
            return evolve(self, failures=count)
        open_s = min(rules.longest_open_s, rules.open_s * 2.0 ** min(self.openings, 32))
        return Breaker(
            failures=count,
            openings=self.openings + 1,
            until=max(asked, now + timedelta(seconds=open_s)),
        )


CLOSED = Breaker()


@define
class Breakers:
    """The breakers of every target, in this process. The state store is told when one opens or
    closes, so that others can look; nothing is decided by it.
    """

    clock: Clock
    store: StateStore
    rules: Rules = Rules()
    _by_alias: dict[str, Breaker] = field(factory=dict, init=False)

    def admits(self, alias: str) -> bool:
        """Whether a call may go to the target."""
        return self._by_alias.get(alias, CLOSED).admits(self.clock.now())

    def enter(self, alias: str) -> None:
        """Let a call go to the target."""
        if (breaker := self._by_alias.get(alias)) is not None:
            self._by_alias[alias] = breaker.entered(self.clock.now(), self.rules)

    async def note(self, alias: str, error: CoeError | None) -> None:
        """Take in how a call to the target ended. What was wrong with the request tells nothing."""
        if isinstance(error, UpstreamRejected | ContextTooLong):
            return
        before, now = self._by_alias.get(alias, CLOSED), self.clock.now()
        after = (
            before.succeeded(now)
            if error is None
            else before.failed(now, self.rules, self._pause_s(error))
        )
        if after == CLOSED:
            self._by_alias.pop(alias, None)
        else:
            self._by_alias[alias] = after
        if (before.until, before.openings) != (after.until, after.openings):
            await self.store.put(PREFIX + alias, None if after == CLOSED else unstructure(after))

    def standing(self) -> dict[str, Json]:
        """Describe every breaker that is not at rest."""
        now = self.clock.now()
        return {alias: described(self._by_alias[alias], now) for alias in sorted(self._by_alias)}

    def _pause_s(self, error: CoeError) -> float:
        match error:
            case UpstreamDenied():  # it will refuse the next call too
                return self.rules.open_s
            case UpstreamOverloaded(retry_after_s=float(asked_s)):
                return asked_s
            case _:
                return 0.0


def described(breaker: Breaker, now: datetime) -> dict[str, Json]:
    """Describe a breaker for people."""
    return {"state": breaker.state(now), **unstructure(breaker)}
