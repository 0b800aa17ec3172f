"""What a panel of the console shows: data, never HTML."""

from __future__ import annotations

from datetime import datetime
from typing import Literal, TypeAlias

from attrs import frozen


@frozen(kw_only=True)
class Stat:
    """A single figure, with its interval and what it was before."""

    label: str
    value: str
    low: str | None = None
    high: str | None = None
    before: str | None = None


@frozen(kw_only=True)
class Series:
    """A line over time."""

    label: str
    unit: str
    points: tuple[tuple[datetime, float | None], ...]


@frozen(kw_only=True)
class Table:
    """Rows under headings; every row as long as `columns`."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@frozen(kw_only=True)
class Story:
    """What happened, step by step: a title and a text each."""

    steps: tuple[tuple[str, str], ...]


@frozen(kw_only=True)
class Action:
    """A button: a POST to a route of the plugin's own."""

    label: str
    path: str
    role: Literal["operator", "admin"]


PanelItem: TypeAlias = Stat | Series | Table | Story | Action
