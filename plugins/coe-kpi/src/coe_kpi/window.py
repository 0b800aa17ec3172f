"""Windows: the stretch of time that a number is of, and its calendar buckets in a zone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Literal, TypeAlias
from zoneinfo import ZoneInfo

from attrs import frozen

from coe_core.error import InvalidField
from coe_kpi.fact import minute_of

LENGTH = re.compile(r"([1-9][0-9]{0,4})(m|h|d)")
MINUTES = {"m": 1, "h": 60, "d": 1440}
SHORTEST, LONGEST = 5, 30 * 1440

Bucket: TypeAlias = Literal["hour", "day", "week", "month"]


@frozen
class Window:
    """A stretch of minutes, numbered from 1970; the first, and the one behind the last."""

    since: int
    until: int

    @property
    def start(self) -> datetime:
        """When it begins."""
        return time_of(self.since)

    @property
    def end(self) -> datetime:
        """When it has ended."""
        return time_of(self.until)


def time_of(minute: int) -> datetime:
    """Tell when a minute begins."""
    return datetime.fromtimestamp(minute * 60, UTC)


def window(text: str, now: datetime) -> Window:
    """Read `5m` to `30d`: so much time, up to the end of the minute that is under way.

    Raises `InvalidField`.
    """
    match = LENGTH.fullmatch(text)
    minutes = int(match[1]) * MINUTES[match[2]] if match else 0
    if not SHORTEST <= minutes <= LONGEST:
        raise InvalidField(
            f"{text!r:.40} is no window: write 5m to 30d, minutes, hours or days", param="window"
        )
    until = minute_of(now) + 1
    return Window(until - minutes, until)


def calendar(whole: Window, bucket: Bucket, zone: ZoneInfo) -> Iterator[Window]:
    """Cut a window at the hours, days, weeks (from Monday) or months of a zone."""
    since = whole.since
    while since < whole.until:
        local = time_of(since).astimezone(zone)
        until = min(max(minute_of(_next(local, bucket)), since + 1), whole.until)
        yield Window(since, until)
        since = until


def _next(local: datetime, bucket: Bucket) -> datetime:
    """Return when the next bucket begins, by the clock on the wall."""
    if bucket == "hour":
        # Through UTC: where the clock is put back, an hour comes twice.
        start = local.replace(minute=0, second=0, microsecond=0)
        return (start.astimezone(UTC) + timedelta(hours=1)).astimezone(local.tzinfo)
    midnight = local.replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
    match bucket:
        case "day":
            return midnight + timedelta(days=1)
        case "week":
            return midnight + timedelta(days=7 - local.weekday())
        case "month":
            return (midnight.replace(day=1) + timedelta(days=32)).replace(day=1)
