"""Breakers: who has failed too often is left alone for a while, then tried by one call at a time.

The pattern is M. Nygard's (Release It!, 2007). A breaker is a value: what happens makes another
one, so that it can be kept in a state store as well as in memory.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
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
from coe_core.service import Clock

State: TypeAlias = Literal["closed", "open", "half_open"]

FORGOTTEN = timedelta(hours=1)
"""So long after it could have been tried again, an opening says nothing any more: the target may
not be in use, or is no longer in the settings.
"""


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
        if self.until is None or now >= self.until + FORGOTTEN:
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
    """The breakers of every target, as this process has them. What opens, closes or tries is told
    to the other workers by `coe_fallback.exchange`; failures that open nothing are not.
    """

    clock: Clock
    rules: Rules = Rules()
    changed: asyncio.Event = field(factory=asyncio.Event, init=False)
    """Set when there is something to tell."""
    _by_alias: dict[str, Breaker] = field(factory=dict, init=False)
    _untold: set[str] = field(factory=set, init=False)

    def admits(self, alias: str) -> bool:
        """Whether a call may go to the target."""
        breaker = self._by_alias.get(alias)
        return breaker is None or breaker.admits(self.clock.now())

    def enter(self, alias: str) -> None:
        """Let a call go to the target."""
        if (breaker := self._by_alias.get(alias)) is not None:
            self._put(alias, breaker.entered(self.clock.now(), self.rules))

    def note(self, alias: str, error: CoeError | None) -> None:
        """Take in how a call to the target ended. What was wrong with the request tells nothing."""
        is_at_rest = error is None and alias not in self._by_alias
        if is_at_rest or isinstance(error, UpstreamRejected | ContextTooLong):
            return
        before, now = self[alias], self.clock.now()
        after = (
            before.succeeded(now)
            if error is None
            else before.failed(now, self.rules, self._pause_s(error))
        )
        self._put(alias, after)

    def __getitem__(self, alias: str) -> Breaker:
        """Return the breaker of a target."""
        return self._by_alias.get(alias, CLOSED)

    def untold(self) -> dict[str, Breaker]:
        """Return what the other workers do not know yet."""
        return {alias: self[alias] for alias in sorted(self._untold)}

    def told(self, alias: str, breaker: Breaker) -> None:
        """Note that the others know this; what has changed meanwhile is told again."""
        if self[alias] == breaker:
            self._untold.discard(alias)

    def adopt(self, shared: Mapping[str, Breaker]) -> None:
        """Take over how all workers together have the breakers that are not closed. What happened
        here and has not been told is newer, and stays.
        """
        gone = {alias for alias, b in self._by_alias.items() if b.until and alias not in shared}
        for alias in gone - self._untold:
            del self._by_alias[alias]
        self._by_alias |= {a: b for a, b in shared.items() if a not in self._untold}

    def standing(self) -> dict[str, Json]:
        """Describe every breaker that is not at rest."""
        now = self.clock.now()
        return {alias: described(self._by_alias[alias], now) for alias in sorted(self._by_alias)}

    def _put(self, alias: str, after: Breaker) -> None:
        before = self[alias]
        if after == CLOSED:
            self._by_alias.pop(alias, None)
        else:
            self._by_alias[alias] = after
        if _told_of(before) != _told_of(after):
            self._untold.add(alias)
            self.changed.set()

    def _pause_s(self, error: CoeError) -> float:
        match error:
            case UpstreamDenied():  # it will refuse the next call too
                return self.rules.open_s
            case UpstreamOverloaded(retry_after_s=float(asked_s)):
                return asked_s
            case _:
                return 0.0


def _told_of(breaker: Breaker) -> object:
    """Return what others are told of: that a call failed, or went well, is not worth a write."""
    return breaker.until, breaker.openings, breaker.probe_until


def described(breaker: Breaker, now: datetime) -> dict[str, Json]:
    """Describe a breaker for people."""
    return {"state": breaker.state(now), **unstructure(breaker)}
