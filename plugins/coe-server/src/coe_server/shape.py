"""The shapes of the answers that `wire` writes, for `/openapi.json`.

Upstreams' own fields, which are passed on, come beside those that are named here.
"""

from __future__ import annotations

from typing import Literal

from attrs import field, frozen
from attrs.validators import matches_re, max_len, min_len, optional

from coe_core.application import Stage
from coe_core.contract import Alert, Sample
from coe_core.message import Json
from coe_server.idempotency import LONGEST_KEY


@frozen(kw_only=True)
class KeyHeader:
    """What a client may say of a request that it may send again."""

    idempotency_key: str | None = field(
        default=None, validator=optional([min_len(1), max_len(LONGEST_KEY)])
    )
    """The same request under the same key gets the same answer for 24 hours."""


@frozen(kw_only=True)
class TurnHeaders(KeyHeader):
    """What a client may say of a turn."""

    x_coe_session: str | None = field(
        default=None, validator=optional(matches_re(r"[!-~]{1,3072}"))
    )
    """The session that the turn belongs to: 1 to 256 printable characters, what is not ASCII in
    percent-encoded UTF-8. Without it, one of its own.
    """


@frozen(kw_only=True)
class AnyHeaders:
    """What is said of every response."""

    x_request_id: str
    """The request's id, also in the server's log."""


@frozen(kw_only=True)
class RateHeaders(AnyHeaders):
    """What is said of a group's rates, where it has limits."""

    x_ratelimit_limit_requests: str | None = None
    """Requests per minute."""
    x_ratelimit_remaining_requests: str | None = None
    """What is left of them."""
    x_ratelimit_reset_requests: str | None = None
    """When all of them are there again, `1.500s`."""
    x_ratelimit_limit_tokens: str | None = None
    """Tokens per minute."""
    x_ratelimit_remaining_tokens: str | None = None
    """What is left of them."""
    x_ratelimit_reset_tokens: str | None = None
    """When all of them are there again, `1.500s`."""


@frozen(kw_only=True)
class ErrorHeaders(RateHeaders):
    """What is said of an error; of rates beside the status 429."""

    retry_after: str | None = None
    """Seconds after which another try may succeed."""
    allow: str | None = None
    """The methods that the path takes, beside the status 405."""


@frozen(kw_only=True)
class Error:
    """What was wrong, and what to do."""

    message: str
    """For the person who sees it."""
    type: str
    param: str | None
    """The path of the field at fault."""
    code: str
    """Stable: decide by it."""
    request_id: str


@frozen(kw_only=True)
class ErrorBody:
    """An error."""

    error: Error


@frozen(kw_only=True)
class AnswerHeaders(RateHeaders):
    """What is said of a turn."""

    x_coe_turn: str
    """The turn's id."""
    x_coe_session: str
    """The session's id, percent-encoded as in the request."""


@frozen(kw_only=True)
class CalledFunction:
    """The function that the model calls."""

    name: str
    arguments: str
    """JSON, as the model wrote it."""


@frozen(kw_only=True)
class AnsweredToolCall:
    """A call that the client is asked for."""

    id: str
    type: str
    function: CalledFunction


@frozen(kw_only=True)
class AnswerMessage:
    """What the model says."""

    role: Literal["assistant"]
    content: str | None
    refusal: str | None
    tool_calls: tuple[AnsweredToolCall, ...] = ()


@frozen(kw_only=True)
class AnswerChoice:
    """One of the answers."""

    index: int
    message: AnswerMessage
    finish_reason: str


@frozen(kw_only=True)
class PromptTokens:
    """Of the prompt's tokens."""

    cached_tokens: int


@frozen(kw_only=True)
class CompletionTokens:
    """Of the answer's tokens."""

    reasoning_tokens: int


@frozen(kw_only=True)
class CompletionUsage:
    """The tokens of the attempts that made the answer."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokens
    completion_tokens_details: CompletionTokens


@frozen(kw_only=True)
class Shown:
    """A passage that the model was shown."""

    number: int
    """What the answer cites it by: `[1]`."""
    used: bool
    """Whether the answer does."""
    passage: str
    """Its id."""
    url: str | None
    """Where it can be opened, below the server's address."""
    item: str
    """The document, card or earlier turn that it is a piece of."""
    kind: str
    layer: str
    source: str
    title: str
    headings: tuple[str, ...]
    page: int | None
    first_line: int | None
    last_line: int | None


@frozen(kw_only=True)
class Remarks:
    """What CoE says of an answer."""

    fallback: str | None = None
    """The alias that has answered, where that is not the turn's target."""
    citations: tuple[Shown, ...] | None = None
    """The passages that the model was shown, if there were any."""


@frozen(kw_only=True)
class Completion:
    """A chat completion."""

    id: str
    object: Literal["chat.completion"]
    created: int
    """In Unix seconds."""
    model: str
    """The alias that answered."""
    choices: tuple[AnswerChoice, ...]
    usage: CompletionUsage
    coe: Remarks | None = None
    """Only where there is something to say."""


@frozen(kw_only=True)
class Embedding:
    """One vector."""

    object: Literal["embedding"]
    index: int
    embedding: str | tuple[float, ...]
    """Numbers, or float32 in little-endian order in base64."""


@frozen(kw_only=True)
class EmbeddingUsage:
    """The tokens that were read."""

    prompt_tokens: int
    total_tokens: int


@frozen(kw_only=True)
class EmbeddingList:
    """Vectors, in the order of the input."""

    object: Literal["list"]
    data: tuple[Embedding, ...]
    model: str
    usage: EmbeddingUsage


@frozen(kw_only=True)
class ModelCard:
    """A name that `model` may have."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    """The provider."""


@frozen(kw_only=True)
class ModelList:
    """Every name that `model` may have."""

    object: Literal["list"]
    data: tuple[ModelCard, ...]


@frozen(kw_only=True)
class Liveness:
    """The process answers."""

    status: Literal["ok"]


@frozen(kw_only=True)
class Problem:
    """A plugin, or a part of it, does not work."""

    plugin: str
    stage: Stage
    text: str | None = None
    """For operators: why."""
    mend: str | None = None
    """For operators: what to do."""


@frozen(kw_only=True)
class Readiness:
    """Whether turns are taken."""

    status: Literal["ready", "refusing"]
    problems: tuple[Problem, ...]
    alerts: tuple[Alert, ...] = ()
    """For operators: what holds now."""
    samples: tuple[Sample, ...] = ()
    """For operators: what the monitors measure."""


@frozen(kw_only=True)
class Document:
    """An OpenAPI document."""

    openapi: str
    info: Json
    paths: Json
    components: Json
