"""How alerts stand: which hold, since when, and who has been told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from fnmatch import fnmatchcase

from attrs import evolve, field, frozen

from coe_core.contract import Alert
from coe_kpi.rule import Held, Rule

FORGET = timedelta(days=1)
"""A recovery that a sink does not take for so long is not told any more."""


@frozen(kw_only=True)
class Standing:
    """An alert from the moment at which its rule holds until everybody knows that it is over."""

    alert: Alert
    since: datetime
    """When it began to hold."""
    fires: bool = False
    told: tuple[str, ...] = ()
    """The sinks that know of it; once it is over, those that do not know that yet."""


@frozen(kw_only=True)
class Silence:
    """Alerts of which nobody is told for a while."""

    pattern: str
    """Of keys: `routing-burn`, `budget-*`."""
    until: datetime
    actor: str
    reason: str = ""

    def covers(self, alert: Alert, now: datetime) -> bool:
        """Whether nobody is to be told."""
        return now < self.until and fnmatchcase(alert.key, self.pattern)


@frozen(kw_only=True)
class Board:
    """All of them, by key, as they are kept between two evaluations."""

    standings: Mapping[str, Standing] = field(factory=dict)

    @property
    def firing(self) -> list[Alert]:
        """The alerts that hold, and have held for long enough."""
        found = [s.alert for s in self.standings.values() if s.fires and not s.alert.resolved]
        return sorted(found, key=lambda alert: alert.key)

    def advance(
        self,
        now: datetime,
        rules: Sequence[Rule],
        held: Mapping[str, Held],
        others: Mapping[str, Sequence[Alert] | None],
    ) -> Board:
        """Go on to what holds now: our own rules with their labels' values, and the alerts of the
        plugins' rules; None for one that did not answer, whose alerts then stay.
        """
        present = {
            key: self._standing(now, _alert(rule, value, measured, now), rule.for_s)
            for rule in rules
            for value, measured in held.get(rule.name, {}).items()
            for key in [rule.key(value)]
        }
        for alerts in others.values():
            for alert in alerts or ():
                present[alert.key] = self._standing(now, alert, 0.0)
        unknown = {name for name, alerts in others.items() if alerts is None}
        rest = (self._gone(now, s, unknown) for k, s in self.standings.items() if k not in present)
        return Board(standings=present | {s.alert.key: s for s in rest if s is not None})

    def _standing(self, now: datetime, alert: Alert, for_s: float) -> Standing:
        before = self.standings.get(alert.key)
        if before is None or before.alert.resolved:
            # Who has not heard that it was over has nothing new to hear.
            told = before.told if before is not None else ()
            before = Standing(alert=alert, since=now, told=told)
        fires = now - before.since >= timedelta(seconds=for_s)
        at = before.alert.at if before.fires else now
        return evolve(before, alert=evolve(alert, at=at), fires=fires)

    def _gone(self, now: datetime, standing: Standing, unknown: set[str]) -> Standing | None:
        alert = standing.alert
        if alert.rule in unknown and not alert.resolved:
            return standing
        if not standing.told or (alert.resolved and now - alert.at > FORGET):
            return None
        at = alert.at if alert.resolved else now
        return evolve(standing, alert=evolve(alert, at=at, resolved=True))

    def due(
        self, sinks: Sequence[str], silences: Sequence[Silence], now: datetime
    ) -> list[tuple[str, Alert]]:
        """List who has to be told of what: each sink of each alert once, and of its end."""
        found = []
        for standing in self.standings.values():
            alert = standing.alert
            if alert.resolved:
                found += [(sink, alert) for sink in sinks if sink in standing.told]
            elif standing.fires and not any(s.covers(alert, now) for s in silences):
                found += [(sink, alert) for sink in sinks if sink not in standing.told]
        return found

    def delivered(self, sink: str, alert: Alert) -> Board:
        """Note that a sink has been told."""
        standing = self.standings[alert.key]
        told = tuple(name for name in standing.told if name != sink)
        told = told if alert.resolved else (*told, sink)
        return Board(standings={**self.standings, alert.key: evolve(standing, told=told)})


def _alert(rule: Rule, value: str, measured: float, now: datetime) -> Alert:
    of_label = f"{rule.per} {value}: " if value else ""
    of_value = f"{value}: " if value else ""
    return Alert(
        key=rule.key(value),
        rule=rule.name,
        severity=rule.severity,
        text=f"{of_label}{rule.text} ({measured:.4g})",
        said={"ko": f"{of_value}{rule.text_ko} ({measured:.4g})"} if rule.text_ko else {},
        playbook=rule.page,
        pages=rule.pages,
        at=now,
    )
