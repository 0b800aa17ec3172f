"""A time on the command line."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import click

FORMS = ("%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%S%z", "%Y-%m-%dT%H:%M:%S.%f%z")
"""The last is how lines of the log have it."""


class Instant(click.DateTime):
    """A time, in UTC unless it says otherwise."""

    def __init__(self) -> None:
        super().__init__(FORMS)

    def convert(self, value: Any, param: Any, ctx: Any) -> datetime:
        """Read it."""
        at: datetime = super().convert(value, param, ctx)
        try:
            return at.replace(tzinfo=at.tzinfo or UTC).astimezone(UTC)
        except OverflowError:
            self.fail(f"{value!r} is before or after all time", param, ctx)
