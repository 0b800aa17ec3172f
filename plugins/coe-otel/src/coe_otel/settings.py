"""The settings: `[plugins.otel]`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal
from urllib.parse import urlsplit

from attrs import Attribute, field, frozen
from attrs.validators import ge, gt, optional

from coe_core.settings import Secret


def _check_address(_: object, attribute: Attribute[str], value: str) -> None:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{attribute.name} is an address like http://host:4318, not {value!r}")


@frozen(kw_only=True)
class Settings:
    endpoint: str | None = field(default=None, validator=optional(_check_address))
    """Where the collector takes OTLP over HTTP, `http://127.0.0.1:4318` say; `/v1/traces` and
    `/v1/metrics` are added. Without it nothing is sent.
    """
    headers: Mapping[str, Secret] = field(factory=dict, repr=False)
    """Headers that are sent along, a key of the collector say: `env:NAME` or `file:PATH`."""
    service_name: str = "coe"
    """The `service.name` of all spans and metrics."""
    semconv: Literal["1.36", "1.41"] = "1.41"
    """The version of the semantic conventions whose names are used."""
    content: bool = False
    """Whether spans hold what was asked and answered. Whoever reads the spans then reads that."""
    export_s: float = field(default=5.0, validator=gt(0))
    """How often spans and metrics are sent."""
    timeout_s: float = field(default=5.0, validator=gt(0))
    """How long the collector may take."""
    queue_spans: int = field(default=8192, validator=ge(1))
    """How many spans wait to be sent; what comes beyond is dropped: the log has it."""
