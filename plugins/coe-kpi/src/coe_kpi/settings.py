"""The settings: `[plugins.kpi]`."""

from __future__ import annotations

from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from attrs import Attribute, field, frozen
from attrs.validators import and_, ge, gt, le

from coe_core.settings import Secret


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
    rules: str | None = None
    """A file of alert rules in place of the built-in ones (`coe alerts export --toml`)."""
    alert_s: float = field(default=15.0, validator=ge(1))
    """How often the alert rules are evaluated."""
    webhook: Secret | None = None
    """Where alerts are posted as JSON: the address, as `env:NAME` or `file:PATH`."""
    slack: Secret | None = None
    """Where alerts are posted as Slack has it: the address, as `env:NAME` or `file:PATH`."""
    mail_host: str | None = None
    """The SMTP server for alerts."""
    mail_port: int = field(default=587, validator=and_(ge(1), le(65535)))
    """Its port."""
    mail_from: str = "coe@localhost"
    """Who the alerts are from."""
    mail_to: tuple[str, ...] = ()
    """Who gets them."""
    mail_starttls: bool = True
    """Whether the connection is encrypted before anything is sent."""
    mail_user: str | None = None
    """Who logs in, if anybody has to."""
    mail_password: Secret | None = None
    """With what, as `env:NAME` or `file:PATH`."""
