"""A look: what a visitor asks the panel for, in its query. What means nothing is passed over."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from attrs import evolve, frozen

from coe_core.access import Principal
from coe_kpi import word
from coe_kpi.fact import RESULTS
from coe_kpi.report import Query
from coe_kpi.span import HOUR
from coe_kpi.view import Cut
from coe_kpi.window import Window
from coe_kpi.word import FIGURES, LABELS

WINDOWS = (*word.WINDOWS,)
DEFAULT = "24h"
EVERY = "every"
TOOLS = "tools"
BEHIND: tuple[str, ...] = (EVERY, TOOLS, *RESULTS)
"""Whose turns can be listed."""

PLACE = re.compile(r"(\d{1,9})-([\w-]{1,64})")


@frozen(kw_only=True)
class Look:
    """The window and the filters, and what of it is looked at."""

    window: str = DEFAULT
    group: str | None = None
    route: str | None = None
    model: str | None = None
    figure: str | None = None
    """Of the four the one that is looked at closely."""
    by: str = "model"
    behind: str | None = None
    """Whose turns are listed."""
    before: tuple[int, str] | None = None
    """Minute and id of a turn: only those that began before it are listed."""

    @classmethod
    def of(cls, principal: Principal, query: Mapping[str, str]) -> Look:
        """Read a query. Whoever is no operator looks at the own group."""
        is_operator = principal.may("operator")
        place = PLACE.fullmatch(query.get("before", ""))
        return cls(
            window=_window(query.get("window", DEFAULT)),
            group=query.get("group") if is_operator else principal.group,
            route=query.get("route"),
            model=query.get("model"),
            figure=_one_of(query.get("figure"), FIGURES),
            by=_one_of(query.get("by"), LABELS) or "model",
            behind=_one_of(query.get("behind"), BEHIND),
            before=(int(place[1]), place[2]) if place else None,
        )

    def query(self, **changes: Any) -> dict[str, str]:
        """Write the query for this look, changed."""
        look = evolve(self, **{"before": None, **changes})
        written = {
            "window": look.window,
            "group": look.group,
            "route": look.route,
            "model": look.model,
            "figure": look.figure,
            "by": look.by if look.figure else None,
            "behind": look.behind,
            "before": "-".join(map(str, look.before)) if look.before else None,
        }
        return {name: value for name, value in written.items() if value is not None}

    @property
    def asked(self) -> Query:
        """The same for a report."""
        return Query(window=self.window, group=self.group, route=self.route, model=self.model)

    @property
    def filters(self) -> dict[str, str]:
        """What turns have to be."""
        named = {"group": self.group, "route": self.route, "model": self.model}
        return {name: value for name, value in named.items() if value is not None}

    def cut(self, group: str) -> Cut:
        """Cut out the turns of a group."""
        where = {"target" if name == "model" else name: v for name, v in self.filters.items()}
        return Cut({**where, "group": group})


def trend(whole: Window) -> list[Window]:
    """Cut a window into a number of equal parts, for a line. Long ones are of whole hours, of which
    the sums are kept; the last may not be over.
    """
    minutes = whole.until - whole.since
    step = next(step for step in (1, 5, 60, 360, 1440) if minutes <= step * 30)
    later = -whole.until % HOUR if step > HOUR else 0
    starts = range(whole.since + later, whole.until + later, step)
    return [Window(since, since + step) for since in starts]


def _window(text: str) -> str:
    return text if text in WINDOWS else DEFAULT


def _one_of(text: str | None, known: Mapping[str, object] | tuple[str, ...]) -> str | None:
    return text if text in known else None
