"""Every error that CoE raises on purpose, in one tree.

The class decides the HTTP status, the stable code and whether another attempt may help; nothing is
ever read back out of a message. A message is written for the person who sees it: it says what was
wrong and what to do.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from coe_core.rate import RateLimits


class CoeError(Exception):
    """An error with a stable code, fit to be shown.

    `param` names the offending field of the request; `retry_after_s` is in seconds and is sent as
    `Retry-After`.
    """

    code: ClassVar[str] = "internal_error"
    status: ClassVar[int] = 500
    type: ClassVar[str] = "server_error"
    retryable: ClassVar[bool] = False
    """Whether another attempt, on this or another target, may succeed."""

    def __init__(
        self, message: str, *, param: str | None = None, retry_after_s: float | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry_after_s = retry_after_s


class InvalidRequest(CoeError):
    """The request itself is at fault."""

    code = "invalid_request"
    status = 400
    type = "invalid_request_error"


class MalformedBody(InvalidRequest):
    """The body is not valid UTF-8 JSON."""

    code = "malformed_body"


class InvalidField(InvalidRequest):
    """A field has the wrong type or a value out of range; `param` is its path."""

    code = "invalid_field"


class ContextTooLong(InvalidRequest):
    """The prompt does not fit the model's context."""

    code = "context_length_exceeded"


class BodyTooLarge(InvalidRequest):
    """The body exceeds the limit."""

    code = "body_too_large"
    status = 413


class SlowRequest(InvalidRequest):
    """The client took too long to send its request."""

    code = "request_timeout"
    status = 408


class Unauthenticated(CoeError):
    """The key is missing, unknown, expired or revoked."""

    code = "invalid_api_key"
    status = 401
    type = "authentication_error"


class Forbidden(CoeError):
    """The principal is known but its role or group may not do this."""

    code = "forbidden"
    status = 403
    type = "permission_error"


class ForgedHost(Forbidden):
    """The Host header is not one this server answers to."""

    code = "forbidden_host"


class NotFound(CoeError):
    """There is no such thing, or it belongs to another group: the two look alike."""

    code = "not_found"
    status = 404
    type = "invalid_request_error"


class UnknownModel(NotFound):
    """No alias has that name; the message lists the nearest ones."""

    code = "model_not_found"


class MethodNotAllowed(CoeError):
    """The path exists, but not with this method."""

    code = "method_not_allowed"
    status = 405
    type = "invalid_request_error"


class Conflict(CoeError):
    """The request contradicts the present state, an idempotency key reused for another body say."""

    code = "conflict"
    status = 409
    type = "invalid_request_error"


class GuardRefused(CoeError):
    """A guard refused the step, or failed, which counts as a refusal."""

    code = "refused_by_guard"
    status = 400
    type = "invalid_request_error"


class RateLimited(CoeError):
    """The group's requests or tokens per minute are used up; `limits` says what is left of each."""

    code = "rate_limit_exceeded"
    status = 429
    type = "rate_limit_error"

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        retry_after_s: float | None = None,
        limits: RateLimits | None = None,
    ) -> None:
        super().__init__(message, param=param, retry_after_s=retry_after_s)
        self.limits = limits


class BudgetExceeded(CoeError):
    """The group's budget does not cover the call. Passes through every wall of isolation."""

    code = "insufficient_quota"
    status = 429
    type = "insufficient_quota"


class Overloaded(CoeError):
    """The server has more turns to run than it can, and as many wait already as may."""

    code = "server_overloaded"
    status = 429
    type = "rate_limit_error"
    retryable = True


class Unavailable(CoeError):
    """The server cannot take this turn now: it drains, or cannot write its record."""

    code = "service_unavailable"
    status = 503
    retryable = True


class RecordDamaged(CoeError):
    """A record of the log is not what was written, or is gone."""

    code = "record_damaged"


class UpstreamError(CoeError):
    """A model's provider failed; the subclasses say how."""

    code = "upstream_error"
    status = 502
    type = "upstream_error"
    retryable = True


class UpstreamUnreachable(UpstreamError):
    """No connection could be made."""

    code = "upstream_unreachable"


class UpstreamTimeout(UpstreamError):
    """The upstream did not answer, or went silent, within its time."""

    code = "upstream_timeout"
    status = 504


class UpstreamOverloaded(UpstreamError):
    """The upstream answered 429 or 503; honours its Retry-After."""

    code = "upstream_overloaded"
    status = 503


class UpstreamMalformed(UpstreamError):
    """The upstream sent something that is not the protocol: bad JSON, HTML, a wrong type."""

    code = "upstream_malformed"


class UpstreamCut(UpstreamError):
    """The stream ended before its finish reason."""

    code = "upstream_cut"


class UpstreamDenied(UpstreamError):
    """The upstream refused our own credentials or quota; the same target will refuse again."""

    code = "upstream_denied"


class ModelNotConfigured(UpstreamDenied):
    """What the deployment has to bring for the model is not there, its key say. What it is
    concerns the operator alone: the log has it, and `coe doctor`.
    """

    code = "model_not_configured"
    status = 503

    def __init__(self, alias: str) -> None:
        super().__init__(
            f"the model {alias!r} is not configured completely on the server; choose another, or "
            "ask the operator, whom the log and `coe doctor` tell what is missing"
        )


class UpstreamRejected(UpstreamError):
    """The upstream found the request itself at fault (4xx); another target would too."""

    code = "upstream_rejected"
    status = 400
    type = "invalid_request_error"
    retryable = False


class ModelCrashed(UpstreamError):
    """The process of a local model died; it is started again for the next call."""

    code = "model_crashed"
    status = 503


class ToolFailed(CoeError):
    """A tool raised, or its arguments or result broke its schema."""

    code = "tool_failed"


class SettingsError(CoeError):
    """The settings cannot be used. `where` is the file and line, or the variable, if known."""

    code = "invalid_settings"

    def __init__(
        self, message: str, *, where: str | None = None, others: Iterable[SettingsError] = ()
    ) -> None:
        super().__init__(f"{where}: {message}" if where else message)
        self.where = where
        self.others = tuple(others)
        """What else was wrong: whoever mends one thing wants to know of the next."""

    @classmethod
    def together(cls, errors: Sequence[SettingsError]) -> SettingsError:
        """Make one error of several, of which each may be several itself."""
        first, *rest = [each for error in errors for each in error.all]
        first.others = tuple(rest)
        return first

    @property
    def all(self) -> tuple[SettingsError, ...]:
        """This error and the others."""
        return (self, *self.others)


class StartRefused(CoeError):
    """The deployment cannot start: a required plugin is missing, a port is in use."""

    code = "start_refused"


class MissingService(CoeError):
    """`ctx.need` found no plugin that provides the service."""

    code = "missing_service"


class MissingModel(CoeError):
    """A bundled model's file is absent or damaged; the message names the command that mends it."""

    code = "missing_model"
    status = 503
