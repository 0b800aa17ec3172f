"""What a panel of the console shows: data, never HTML."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Literal, TypeAlias

from attrs import frozen

from coe_core.identity import TurnId

Text: TypeAlias = str | Mapping[str, str]
"""What is said: as it is, or language (`en`, `ko`) to how it is said."""


@frozen(kw_only=True)
class Link:
    """A text that leads on: to the same panel, asked otherwise, or to a turn's story."""

    text: Text | datetime
    """A time is shown in the console's zone."""
    query: Mapping[str, str] | None = None
    """What the panel is asked then."""
    turn: TurnId | None = None


@frozen(kw_only=True)
class Stat:
    """A single figure, with its interval, what it was before, and how it came to be."""

    label: Text
    value: str
    low: str | None = None
    high: str | None = None
    before: str | None = None
    change: Literal["better", "worse"] | None = None
    """Of what was before; None where that cannot be said."""
    trend: tuple[float | None, ...] = ()
    """What it was over time, oldest first: drawn small, and never the only place of a figure."""
    query: Mapping[str, str] | None = None
    """What the panel is asked for what is behind the figure."""


@frozen(kw_only=True)
class Series:
    """A line over time."""

    label: Text
    unit: Text
    points: tuple[tuple[datetime, float | None], ...]


@frozen(kw_only=True)
class Table:
    """Rows under headings; every row as long as `columns`."""

    columns: tuple[Text, ...]
    rows: tuple[tuple[Text | datetime | Link, ...], ...]
    caption: Text | None = None


@frozen(kw_only=True)
class Story:
    """What happened, step by step: a title and a text each."""

    steps: tuple[tuple[Text, Text], ...]


@frozen(kw_only=True)
class Note:
    """A sentence: why nothing is there, say."""

    text: Text


@frozen(kw_only=True)
class Choice:
    """Ways to look at the panel, each of them a link, one of them taken."""

    label: Text
    options: tuple[Link, ...]
    chosen: int | None = None


@frozen(kw_only=True)
class Field:
    """A line that the visitor fills in, for the panel to be asked with."""

    label: Text
    name: str
    """Under which the panel's query has it."""
    value: str = ""


@frozen(kw_only=True)
class Action:
    """A button: a POST to a route of the plugin's own."""

    label: Text
    path: str
    role: Literal["operator", "admin"]


@frozen(kw_only=True)
class Toggle:
    """A switch: of a plugin, a component, or a parameter that is on or off."""

    label: Text
    key: str
    """As the state store has it: see `coe_core.toggle`."""
    on: bool
    role: Literal["operator", "admin"]


PanelItem: TypeAlias = Stat | Series | Table | Story | Note | Choice | Field | Action | Toggle
