"""The laws of console panels."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime

from hypothesis import strategies as st

from coe_core.access import Principal
from coe_core.contract import Panel
from coe_core.panel import (
    Action,
    Choice,
    Field,
    Link,
    Note,
    PanelItem,
    Series,
    Stat,
    Story,
    Table,
    Text,
    Toggle,
)
from coe_core.testing.contracts.component import ComponentContract, untouched
from coe_core.testing.contracts.law import law
from coe_core.testing.strategies import names, principals, texts
from coe_core.toggle import PREFIXES

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
            if isinstance(item, Action | Toggle):
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
        case Table(columns=columns, rows=rows, caption=caption):
            _check_texts(item, *columns, *([caption] if caption is not None else []))
            ragged = [row for row in rows if len(row) != len(columns)]
            assert not ragged, f"{ragged[0]!r} has not one cell for each of {columns}"
            for cell in (cell for row in rows for cell in row if isinstance(cell, Link)):
                _check_link(item, cell)
        case Story(steps=steps):
            _check_texts(item, *(text for step in steps for text in step))
        case Note(text=text):
            _check_texts(item, text)
        case Choice(label=label, options=options, chosen=chosen):
            _check_texts(item, label)
            assert chosen is None or 0 <= chosen < len(options), f"{label!r} has no option {chosen}"
            for option in options:
                _check_link(item, option)
        case Field(label=label, name=name):
            _check_texts(item, label)
            assert name, f"the field {label!r} has no name for the query"
        case Action(label=label, path=path):
            _check_texts(item, label)
            assert path.startswith("/"), f"the path of {label!r} is {path!r}; it begins with /"
        case Toggle(label=label, key=key):
            _check_texts(item, label)
            assert key.startswith(PREFIXES), f"{label!r} switches {key!r}: see coe_core.toggle"
        case _:
            raise AssertionError(f"shows {item!r}; coe_core.panel has what there is: Stat, ...")


def _check_link(item: PanelItem, link: Link) -> None:
    if not isinstance(link.text, datetime):
        _check_texts(item, link.text)
    leads = [place for place in (link.query, link.turn) if place is not None]
    assert len(leads) == 1, f"{link!r} leads to {len(leads)} places; give `query` or `turn`"


def _check_texts(item: PanelItem, *values: Text) -> None:
    for value in values:
        for text in [value] if isinstance(value, str) else value.values():
            is_plain = isinstance(text, str) and not TAG.search(text)
            assert is_plain, f"{type(item).__name__} has {text!r}; give plain text, not HTML"
        if not isinstance(value, str):
            missing = [code for code in LANGUAGES if not value.get(code, "").strip()]
            assert not missing, f"{value!r} lacks {', '.join(missing)}"
