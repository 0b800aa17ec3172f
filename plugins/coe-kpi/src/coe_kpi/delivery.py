"""Alert sinks: the log, a webhook, Slack and what speaks like it, e-mail."""

from __future__ import annotations

import asyncio
import smtplib
import urllib.request
from email.message import EmailMessage
from typing import Protocol

from attrs import define, field, frozen
from loguru import logger

from coe_core.codec import encode
from coe_core.contract import Alert
from coe_core.message import Json
from coe_core.settings import Secret
from coe_kpi.settings import Settings

TIMEOUT_S = 10.0


class Channel(Protocol):
    """A way to somebody."""

    def send(self, alert: Alert) -> None:
        """Send, on a thread; whatever is raised, it is tried again."""
        ...


@define(eq=False)
class ChannelSink:
    """An `AlertSink` over a channel: it sends what is new."""

    name: str
    _channel: Channel
    _sent: dict[str, bool] = field(factory=dict, init=False)
    """Key to whether its end was sent."""

    async def deliver(self, alert: Alert) -> None:
        if self._sent.get(alert.key) is alert.resolved:
            return
        await asyncio.to_thread(self._channel.send, alert)
        self._sent[alert.key] = alert.resolved


@frozen
class LogChannel:
    """The server's own log."""

    def send(self, alert: Alert) -> None:
        """Log it."""
        level = "INFO" if alert.resolved else "WARNING"
        about = logger.bind(key=alert.key, playbook=alert.playbook, text=alert.text)
        about.log(level, "an alert is over" if alert.resolved else "an alert fires")


@frozen
class Webhook:
    """An HTTP address that takes the alert as JSON; key and state tell what it has already."""

    url: Secret

    def send(self, alert: Alert) -> None:
        """Post it."""
        post(self.url, alert)


@frozen
class Slack:
    """An incoming webhook of Slack, Mattermost, Rocket.Chat or Discord (under /slack)."""

    url: Secret

    def send(self, alert: Alert) -> None:
        """Post a line."""
        post(self.url, {"text": f"{subject(alert)}\n{alert.text}\n{alert.playbook}"})


@frozen(kw_only=True)
class Mail:
    """An SMTP server."""

    host: str
    port: int
    sender: str
    recipients: tuple[str, ...]
    starttls: bool = True
    user: str | None = None
    password: Secret | None = None

    def send(self, alert: Alert) -> None:
        """Send one message to all recipients."""
        message = EmailMessage()
        message["From"], message["To"] = self.sender, ", ".join(self.recipients)
        message["Subject"] = subject(alert)
        # The same alert in the same state is the same message, if it should come twice.
        state = "over" if alert.resolved else "fires"
        message["References"] = f"<{alert.rule}.{int(alert.at.timestamp())}.{state}@coe>"
        message.set_content(f"{alert.text}\n\n{alert.at:%Y-%m-%d %H:%M} UTC\n{alert.playbook}\n")
        with smtplib.SMTP(self.host, self.port, timeout=TIMEOUT_S) as server:
            if self.starttls:
                server.starttls()
            if self.user is not None and self.password is not None:
                server.login(self.user, self.password.reveal())
            server.send_message(message)


def sinks(settings: Settings) -> list[ChannelSink]:
    """Make the sinks that the settings name; the log is always one."""
    channels: dict[str, Channel] = {"log": LogChannel()}
    if settings.webhook is not None:
        channels["webhook"] = Webhook(settings.webhook)
    if settings.slack is not None:
        channels["slack"] = Slack(settings.slack)
    if settings.mail_host is not None:
        channels["mail"] = Mail(
            host=settings.mail_host,
            port=settings.mail_port,
            sender=settings.mail_from,
            recipients=settings.mail_to,
            starttls=settings.mail_starttls,
            user=settings.mail_user,
            password=settings.mail_password,
        )
    return [ChannelSink(name, channel) for name, channel in channels.items()]


def subject(alert: Alert) -> str:
    """Say in a line what is the matter."""
    return f"[CoE] {'over' if alert.resolved else alert.severity}: {alert.key}"


def post(url: Secret, body: Json | Alert) -> None:
    """Post JSON. Raises unless the answer is one of success."""
    address = url.reveal()
    if not address.startswith(("http://", "https://")):
        msg = "the address of a webhook begins with http:// or https://"
        raise ValueError(msg)
    headers = {"Content-Type": "application/json", "User-Agent": "coe-kpi"}
    request = urllib.request.Request(address, encode(body), headers)  # noqa: S310 checked above
    with urllib.request.urlopen(request, timeout=TIMEOUT_S):  # noqa: S310
        pass
