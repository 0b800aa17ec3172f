"""Views: the labels by which sums are kept apart.

What is added up is kept once for each view, so that a question reads the sums by its own labels and
not those of every group, route and model there is: a month by hour is 720 rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias, get_args

from attrs import evolve, field, frozen

from coe_kpi.fact import Scope
from coe_kpi.span import HOUR, MINUTE

Label: TypeAlias = Literal["group", "route", "target", "model", "purpose"]
LABELS: tuple[Label, ...] = get_args(Label)

OTHER = "other"
"""The label of what is not shown apart."""

_ANY = Scope("", "", "", "", "")


@frozen
class View:
    """Sums by some labels, whatever the others are."""

    number: int
    """As the file has it."""
    labels: frozenset[str]
    least_span: int = MINUTE
    """In finer buckets there is nothing: by two labels there would be as many rows as by all."""

    def of(self, scope: Scope) -> Scope:
        """Leave out of a scope what this view does not tell apart."""
        kept = {label: getattr(scope, label) for label in self.labels}
        return evolve(_ANY, owner=scope.owner, **kept)


def _views(labels: Sequence[Label]) -> tuple[View, ...]:
    """Make the view of the whole, those by one label, those by group and another, that by all."""
    ones = [frozenset({label}) for label in labels]
    pairs = [frozenset({"group", label}) for label in labels if label != "group"]
    every = [frozenset[Label](), *ones, *pairs, frozenset(labels)]
    return tuple(
        View(number, some, HOUR if some in pairs else MINUTE) for number, some in enumerate(every)
    )


TURN_VIEWS = _views(("group", "route", "target"))
"""The fewest labels first; the last has all. A change needs another `VERSION` of the file."""
CALL_VIEWS = _views(LABELS)
"""Likewise, of attempts."""


@frozen
class Cut:
    """What of the sums is asked for: those that fit, by one label or as a whole."""

    where: Mapping[str, str] = field(factory=dict)
    by: Label | None = None

    def view(self, views: Sequence[View], span: int) -> View:
        """Choose the smallest view that can tell, of buckets of that span."""
        asked = {*self.where, *([self.by] if self.by else [])}
        return next(v for v in views if asked <= v.labels and v.least_span <= span)
