"""API keys: how they look, what is stored of one, how long it is good for."""

from __future__ import annotations

import hmac
import re
import secrets
from datetime import UTC, datetime, timedelta
from typing import Literal, TypeAlias

from attrs import field, frozen

from coe_core.access import AccessRole
from coe_core.error import InvalidField

Standing: TypeAlias = Literal["active", "expired", "revoked"]

PREFIX = "coe_"
"""What each key begins with, so that scanners of leaked secrets know one."""

PLAIN = re.compile(rf"{PREFIX}([0-9a-f]{{12}})_([0-9a-f]{{48}})")

LONGEST_GROUP = 100

SPAN = re.compile(r"(\d{1,6})([mhdw])")
UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


@frozen(kw_only=True)
class Key:
    """A key as it is stored: everything but the key itself."""

    id: str
    digest: str = field(repr=False)
    pepper: str
    """The fingerprint of the pepper that the digest was made with."""
    group: str
    role: AccessRole
    user: str | None = None
    name: str | None = None
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    former_digest: str | None = field(default=None, repr=False)
    """Of the key that this one replaced when it was rotated, good until `former_until`."""
    former_until: datetime | None = None

    def standing(self, now: datetime) -> Standing:
        """Say whether the key is good."""
        if self.revoked_at is not None:
            return "revoked"
        if self.expires_at is not None and self.expires_at <= now:
            return "expired"
        return "active"

    def fits(self, digest: str, now: datetime) -> bool:
        """Say whether the digest is this key's, in constant time."""
        fits = hmac.compare_digest(self.digest, digest)
        if self.former_digest is None or self.former_until is None or self.former_until <= now:
            return fits
        return hmac.compare_digest(self.former_digest, digest) or fits


def make_id() -> str:
    """Make an id: public, unique."""
    return secrets.token_hex(6)


def make_plain(key_id: str) -> str:
    """Make the key itself, of 192 random bits."""
    return f"{PREFIX}{key_id}_{secrets.token_hex(24)}"


def id_of(plain: str) -> str | None:
    """Return the id in a key, None when it is not a whole key."""
    match = PLAIN.fullmatch(plain)
    return match[1] if match else None


def digest_of(plain: str, pepper: bytes) -> str:
    """Hash a key. A fast hash is right: what is hashed has 192 random bits, not a person's few."""
    return hmac.digest(pepper, plain.encode(), "sha256").hex()


def check_group(name: str) -> None:
    """Refuse a group whose name cannot be told apart on a screen, or part of a path.

    Raises `InvalidField`.
    """
    if not 0 < len(name) <= LONGEST_GROUP or not name.isprintable() or name != name.strip():
        raise InvalidField(
            f"a group's name is 1 to {LONGEST_GROUP} printable characters, with no space around "
            f"it, not {name!r:.80}"
        )
    if "/" in name:
        raise InvalidField(f"a group's name has no slash in it: {name!r}")


def moment(text: str, now: datetime) -> datetime | None:
    """Read a time to come: `90d`, `2027-01-01` (its beginning, UTC) or `never`, which is None."""
    if text == "never":
        return None
    at = _after(text, now) or _day(text)
    if at is None:
        raise InvalidField(f"{text!r} is no time: write 90d, 12h, 2027-01-01 or never")
    if at <= now:
        raise InvalidField(f"{text} has passed")
    return at


def span(text: str) -> timedelta | None:
    """Read a length of time: `90d`, `12h`, `30m`, `2w`; None when it is none."""
    match = SPAN.fullmatch(text)
    return timedelta(**{UNITS[match[2]]: int(match[1])}) if match else None


def _after(text: str, now: datetime) -> datetime | None:
    length = span(text)
    try:
        return now + length if length is not None else None
    except OverflowError:
        return None


def _day(text: str) -> datetime | None:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    return at if at.tzinfo else at.replace(tzinfo=UTC)
