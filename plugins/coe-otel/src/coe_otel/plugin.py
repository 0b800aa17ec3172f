"""The plugin `otel`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from attrs import frozen

from coe_core import hookimpl
from coe_core.contract import EventSink
from coe_otel.settings import Settings

if TYPE_CHECKING:
    from coe_core.compose import Context


@frozen
class OtelPlugin:
    settings: Settings

    @hookimpl
    def coe_event_sinks(self, ctx: Context) -> Sequence[EventSink]:
        if self.settings.endpoint is None:
            return []
        from coe_otel.sink import OtelSink

        return [OtelSink(self.settings, self.settings.endpoint)]
