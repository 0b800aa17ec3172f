"""The laws of console panels."""

from __future__ import annotations

import re
from collections.abc import Mapping

from hypothesis import strategies as st

from coe_core.access import Principal
from coe_core.contract import Panel
from coe_core.panel import Action, PanelItem, Series, Stat, Story, Table
from coe_core.testing.contracts.component import ComponentContract, untouched
from coe_core.testing.contracts.law import law
from coe_core.testing.strategies import names, principals, texts

LANGUAGES = ("en", "ko")
TAG = re.compile(r"</?[a-zA-Z][^>]*>")
QUERIES = st.dictionaries(names(), texts(), max_size=2)


class PanelContract(ComponentContract[Panel]):
    """What holds of every panel, whoever looks."""

    contract = Panel

    @law()
    async def test_has_a_title_in_every_language(self, panel: Panel) -> None:
        """The title is there in English and Korean."""
        missing = [code for code in LANGUAGES if not panel.title.get(code, "").strip()]
        assert not missing, f"the title lacks {', '.join(missing)}: {dict(panel.title)!r}"

    @law(principal=principals(), query=QUERIES)
    async def test_shows_well_formed_items(
        self, panel: Panel, principal: Principal, query: Mapping[str, str]
    ) -> None:
        """Any principal and any query gets items that the console can draw: data, never HTML."""
        with untouched(query):
            items = await panel.show(principal, query)
        for item in items:
            check_item(item)

    @law(principal=principals(), query=QUERIES)
    async def test_offers_only_what_one_may(
        self, panel: Panel, principal: Principal, query: Mapping[str, str]
    ) -> None:
        """Nobody is shown an action that his role does not allow."""
        for item in await panel.show(principal, query):
            if isinstance(item, Action):
                assert principal.may(item.role), (
                    f"a {principal.role} is shown {item.label!r}, which is for {item.role}s; "
                    "ask principal.may(role)"
                )


def check_item(item: PanelItem) -> None:
    """See that the console can draw an item."""
    match item:
        case Stat(label=label, value=value):
            _check_texts(item, label, value)
        case Series(label=label, unit=unit, points=points):
            _check_texts(item, label, unit)
            naive = [at for at, _ in points if at.tzinfo is None]
            assert not naive, f"{label!r} has times without a zone: {naive[:1]}"
            times = [at for at, _ in points]
            assert times == sorted(times), f"the points of {label!r} are not in order of time"
        case Table(columns=columns, rows=rows):
            _check_texts(item, *columns)
            ragged = [row for row in rows if len(row) != len(columns)]
            assert not ragged, f"{ragged[0]!r} has not one cell for each of {columns}"
        case Story(steps=steps):
            _check_texts(item, *(text for step in steps for text in step))
        case Action(label=label, path=path):
            _check_texts(item, label)
            assert path.startswith("/"), f"the path of {label!r} is {path!r}; it begins with /"
        case _:
            raise AssertionError(f"shows {item!r}; there are Stat, Series, Table, Story and Action")


def _check_texts(item: PanelItem, *values: str) -> None:
    wrong = [value for value in values if not isinstance(value, str) or TAG.search(value)]
    assert not wrong, f"{type(item).__name__} has {wrong[0]!r}; give plain text, not HTML"
