"""The settings of the plugin, `[plugins.records]`."""

from __future__ import annotations

import click
from attrs import field, frozen
from attrs.validators import ge, gt


@frozen(kw_only=True)
class Settings:
    segment_bytes: int = field(default=256 << 20, validator=ge(1))
    """A file of the log that has grown to this size is followed by a new one."""
    spot_check_s: float = field(default=5.0, validator=gt(0))
    """How often it is looked how far log and database are apart, and whether a random record of
    each is in the other.
    """


pass_settings = click.make_pass_decorator(Settings, ensure=True)
