"""litellm's exceptions as errors of CoE."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from attrs import field, frozen

from coe_core.error import (
    CoeError,
    ContextTooLong,
    UpstreamCut,
    UpstreamDenied,
    UpstreamError,
    UpstreamOverloaded,
    UpstreamRejected,
    UpstreamTimeout,
    UpstreamUnreachable,
)

E = TypeVar("E", bound=CoeError)
Kinds = Mapping[Any, type[CoeError]]

QUOTED_LETTERS = 500
BROKEN_STREAM = "MidStreamFallbackError"
ERRORS = range(400, 500)

BY_CODE: Kinds = {
    "billing_hard_limit_reached": UpstreamDenied,
    "context_length_exceeded": ContextTooLong,
    "insufficient_quota": UpstreamDenied,
}
BY_CLASS: Kinds = {
    "AuthenticationError": UpstreamDenied,
    "ConnectError": UpstreamUnreachable,
    "ContextWindowExceededError": ContextTooLong,
    "PaymentRequiredError": UpstreamDenied,
    "PermissionDeniedError": UpstreamDenied,
    "RateLimitError": UpstreamOverloaded,
    "ServiceUnavailableError": UpstreamOverloaded,
    "Timeout": UpstreamTimeout,
}
"""By name, so that this module does not import litellm."""
BY_STATUS: Kinds = {
    401: UpstreamDenied,
    402: UpstreamDenied,
    403: UpstreamDenied,
    408: UpstreamTimeout,
    429: UpstreamOverloaded,
    503: UpstreamOverloaded,
    504: UpstreamTimeout,
    529: UpstreamOverloaded,
}


@frozen
class Target:
    """Whom an error is about. `secrets` are cut out of whatever is said."""

    alias: str
    name: str
    secrets: tuple[str, ...] = field(default=(), repr=False)

    def error(self, kind: type[E], text: str, **more: Any) -> E:
        """Make an error that names the model."""
        for secret in self.secrets:
            text = text.replace(secret, "***") if secret else text
        return kind(f"model {self.alias!r} ({self.name} through litellm): {text}", **more)

    def failure(self, error: Exception) -> CoeError:
        """Make the error for one of litellm's exceptions, or one that escaped it."""
        kind = _kind(error)
        text = str(getattr(error, "message", error))[:QUOTED_LETTERS] or type(error).__name__
        if kind is UpstreamDenied:
            # What is said here often repeats a part of the key.
            text = "the provider refused our credentials or quota; check api_key"
        return self.error(kind, text, retry_after_s=_retry_after_s(error))


def _kind(error: Exception) -> type[CoeError]:
    names = {cls.__name__ for cls in type(error).__mro__}
    if BROKEN_STREAM in names:
        inner = getattr(error, "original_exception", None)
        kind = _kind(inner) if isinstance(inner, Exception) else UpstreamError
        return UpstreamCut if kind is UpstreamError else kind
    if kinds := [BY_CODE[code] for code in _codes(error) if code in BY_CODE]:
        return kinds[0]
    for cause in _causes(error):
        if kinds := [BY_CLASS[c.__name__] for c in type(cause).__mro__ if c.__name__ in BY_CLASS]:
            return kinds[0]
    status = getattr(error, "status_code", None)
    return BY_STATUS.get(status, UpstreamRejected if status in ERRORS else UpstreamError)


def _codes(error: Exception) -> Iterator[Any]:
    yield getattr(error, "code", None)
    body = getattr(error, "body", None)
    if isinstance(body, Mapping):
        yield body.get("code")
        yield body.get("type")


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Iterate over an exception and what it was raised from: litellm wraps what it catches."""
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__ or seen.__context__


def _retry_after_s(error: Exception) -> float | None:
    headers = getattr(error, "litellm_response_headers", None) or {}
    try:
        seconds = float(headers.get("retry-after", ""))
    except ValueError:
        return None
    return seconds if 0 <= seconds < float("inf") else None
