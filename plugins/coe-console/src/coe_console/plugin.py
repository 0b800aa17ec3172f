"""The page that an operator keeps open: panels, turns, plugins and their problems."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal
from zoneinfo import ZoneInfo

from attrs import field, frozen

from coe_core.compose import Context
from coe_core.hookspec import hookimpl
from coe_core.http import HttpRoute


def _zone(_: object, __: object, name: str) -> None:
    try:
        ZoneInfo(name)
    except (LookupError, ValueError, OSError):
        raise ValueError(f"there is no time zone {name!r}; write one as Asia/Seoul") from None


@frozen(kw_only=True)
class Settings:
    language: Literal["auto", "en", "ko"] = "auto"
    """The language of the pages; `auto` takes the one that the browser asks for."""
    zone: str = field(default="Asia/Seoul", validator=_zone)
    """The time zone in which times are shown."""
    first: tuple[str, ...] = ("kpi",)
    """The panels above the latest turns on the overview, in this order; the rest is below."""


@frozen
class ConsolePlugin:
    settings: Settings

    @hookimpl
    def coe_http_routes(self, ctx: Context) -> Sequence[HttpRoute]:
        from coe_console.console import Console

        settings = self.settings
        return Console(settings.language, ZoneInfo(settings.zone), settings.first).routes()
