"""What can go wrong with an upstream, as errors of CoE."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

import msgspec
from attrs import field, frozen

from coe_core.error import (
    CoeError,
    ContextTooLong,
    UpstreamDenied,
    UpstreamError,
    UpstreamMalformed,
    UpstreamOverloaded,
    UpstreamRejected,
    UpstreamTimeout,
)

E = TypeVar("E", bound=CoeError)

QUOTED_LETTERS = 500
"""How much of an upstream's own text goes into a message."""

Kinds = Mapping[Any, type[CoeError]]

NAMED: Kinds = {
    "access_terminated": UpstreamDenied,
    "authentication_error": UpstreamDenied,
    "billing_hard_limit_reached": UpstreamDenied,
    "billing_not_active": UpstreamDenied,
    "context_length_exceeded": ContextTooLong,
    "exceed_context_size_error": ContextTooLong,
    "insufficient_quota": UpstreamDenied,
    "invalid_api_key": UpstreamDenied,
    "permission_error": UpstreamDenied,
}
"""Codes and types of errors that are believed whatever the status is."""

NAMED_WITHOUT_STATUS: Kinds = {
    **NAMED,
    "BadRequestError": UpstreamRejected,
    "content_filter": UpstreamRejected,
    "invalid_request_error": UpstreamRejected,
    "model_not_found": UpstreamRejected,
    "overloaded_error": UpstreamOverloaded,
    "rate_limit_error": UpstreamOverloaded,
    "rate_limit_exceeded": UpstreamOverloaded,
}
"""Those that count when there is no status that says more, within a stream."""

TOO_LONG = "maximum context length"
"""All that vLLM and its like say of a prompt that is too long: they give it no name."""

UNAUTHORIZED = 401
SERVER_ERROR = 500
ERRORS = range(400, 600)
BY_STATUS: Kinds = {
    401: UpstreamDenied,
    402: UpstreamDenied,
    403: UpstreamDenied,
    408: UpstreamTimeout,
    429: UpstreamOverloaded,
    503: UpstreamOverloaded,
    504: UpstreamTimeout,
    # Not in any standard: Cloudflare's timeout, and Anthropic's overload.
    524: UpstreamTimeout,
    529: UpstreamOverloaded,
}


@frozen
class Target:
    """Whom an error is about. `secrets` are cut out of whatever the upstream says."""

    alias: str
    host: str
    secrets: tuple[str, ...] = field(default=(), repr=False)

    def error(self, kind: type[E], text: str, **more: Any) -> E:
        """Make an error that names the model and the host."""
        return kind(f"model {self.alias!r} at {self.host}: {self._without_secrets(text)}", **more)

    def _without_secrets(self, text: str) -> str:
        for secret in self.secrets:
            text = text.replace(secret, "***") if secret else text
        return text


@frozen(kw_only=True)
class Complaint:
    """What an upstream says of an error, as far as it says anything that we understand."""

    message: str = ""
    names: tuple[str, ...] = ()
    """Its `code` and `type`."""
    status: int | None = None
    """A status within the body, which stands for the real one inside a stream."""
    param: str | None = None


def read_complaint(body: Any) -> Complaint:
    """Understand an error's body: OpenAI's form, or one of those seen elsewhere.

    `{"error": {...}}`, `{"error": "text"}`, `{"message": ...}`, `{"detail": ...}`, or a list of
    one of these.
    """
    match body:
        case [first, *_]:
            return read_complaint(first)
        case {"error": {**error}}:
            return _complaint(error)
        case {"error": str(text)} | {"detail": str(text)}:
            return _complaint({**body, "message": text})
        case {"detail": detail}:
            return _complaint({"message": msgspec.json.encode(detail).decode()})
        case {"message": str()}:
            return _complaint(body)
        case _:
            return Complaint()


def _complaint(error: Mapping[Any, Any]) -> Complaint:
    code, kind = error.get("code"), error.get("type")
    message, param = error.get("message"), error.get("param")
    return Complaint(
        message=message if isinstance(message, str) else "",
        names=tuple(name for name in (code, kind) if isinstance(name, str)),
        status=_status(code) or _status(error.get("status")),
        param=param if isinstance(param, str) else None,
    )


def _status(value: object) -> int | None:
    digits = str(value)
    return int(digits) if len(digits) == 3 and digits.isdecimal() else None  # noqa: PLR2004


def from_status(target: Target, status: int, headers: Mapping[str, str], body: bytes) -> CoeError:
    """Make the error for an answer whose status is not a success."""
    try:
        complaint = read_complaint(msgspec.json.decode(body))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        complaint = Complaint()
    said = complaint.message[:QUOTED_LETTERS] or _unexplained(status)
    if status == UNAUTHORIZED:
        # What an upstream says here often repeats a part of the key.
        said = "it refused our credentials; check api_key"
    return target.error(
        _kind(status, complaint),
        f"it answered {status}: {said}",
        param=complaint.param,
        retry_after_s=retry_after_s(headers),
    )


def from_frame(target: Target, body: Any) -> CoeError:
    """Make the error for one that came with status 200, in a stream or instead of an answer."""
    complaint = read_complaint(body)
    said = complaint.message[:QUOTED_LETTERS] or "without a reason"
    kind = _kind(complaint.status or SERVER_ERROR, complaint)
    return target.error(kind, f"it failed while answering: {said}", param=complaint.param)


def _unexplained(status: int) -> str:
    return "check base_url" if status in (404, 405) else "without a reason that can be read"


def _kind(status: int, complaint: Complaint) -> type[CoeError]:
    if TOO_LONG in complaint.message:
        return ContextTooLong
    kinds = NAMED_WITHOUT_STATUS if status == SERVER_ERROR else NAMED
    if named := [kinds[name] for name in complaint.names if name in kinds]:
        return named[0]
    if status in BY_STATUS:
        return BY_STATUS[status]
    if status not in ERRORS:
        return UpstreamMalformed
    return UpstreamError if status >= SERVER_ERROR else UpstreamRejected


def retry_after_s(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """Read how long the upstream asks us to wait: RFC 9110, 10.2.3, seconds or a date."""
    text = headers.get("Retry-After", "").strip()
    try:
        seconds = float(text)
    except ValueError:
        try:
            at = parsedate_to_datetime(text)
        except (ValueError, OverflowError):
            return None
        at = at if at.tzinfo else at.replace(tzinfo=UTC)
        seconds = (at - (now or datetime.now(UTC))).total_seconds()
    return max(0.0, seconds) if math.isfinite(seconds) else None
