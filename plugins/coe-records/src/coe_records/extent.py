"""An extent: which part of the record is read or exported."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from attrs import frozen
from sqlalchemy import ColumnElement

from coe_core.codec import rfc3339


@frozen(kw_only=True)
class Extent:
    """Turns that began in a window, or whatever else has a time, of a group or of all."""

    group: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def holds(self, table: Any, at: ColumnElement[str]) -> Iterator[ColumnElement[bool]]:
        """Yield the conditions."""
        if self.group is not None:
            yield table.c.group_name == self.group
        if self.since is not None:
            yield at >= rfc3339(self.since)
        if self.until is not None:
            yield at < rfc3339(self.until)
