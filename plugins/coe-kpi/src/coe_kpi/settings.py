"""The settings: `[plugins.kpi]`."""

from __future__ import annotations

from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from attrs import Attribute, field, frozen
from attrs.validators import gt


def _zone(_: object, __: Attribute[str], value: str) -> None:
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError):
        msg = f"there is no time zone {value!r}; Asia/Seoul and UTC are some"
        raise ValueError(msg) from None


@frozen(kw_only=True)
class Settings:
    zone: str = field(default="Asia/Seoul", validator=_zone)
    """The time zone of the calendar: whose days, weeks and months KPIs are shown by."""
    fold_s: float = field(default=5.0, validator=gt(0))
    """How often what was recorded is added up, unless somebody asks sooner."""
