"""`POST /v1/embeddings`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from attrs import field, frozen
from attrs.validators import ge, le, min_len, optional

from coe_core.codec import structure
from coe_core.error import InvalidField
from coe_core.http import HttpRequest, HttpResponse
from coe_core.message import Json
from coe_core.request import EmbeddingRequest
from coe_server import idempotency
from coe_server.wire import dumps, embeddings_body

INPUT = (
    "a text, a list of texts, a list of token numbers, or a list of such lists, none of it empty"
)
WIDEST = 65_536
"""Dimensions beyond those of any embedder: so many numbers are asked for by mistake, or to harm."""

TEXT = {"type": "string", "minLength": 1}
TOKENS = {"type": "array", "items": {"type": "integer"}, "minItems": 1}
INPUT_SCHEMAS = (
    TEXT,
    {"type": "array", "items": TEXT, "minItems": 1},
    TOKENS,
    {"type": "array", "items": TOKENS, "minItems": 1},
)


@frozen(kw_only=True)
class EmbeddingBody:
    """What a client sends."""

    model: str = field(validator=min_len(1))
    input: Json = field(metadata={"schema": {"anyOf": INPUT_SCHEMAS}})
    """A text, a list of texts, a list of token numbers, or a list of such lists."""
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = field(default=None, validator=optional([ge(1), le(WIDEST)]))
    user: str | None = None
    extra: Mapping[str, Json] = field(factory=dict)

    def request(self) -> EmbeddingRequest:
        """Return what concerns the model. Raises `InvalidField` when the input is none."""
        texts, tokens = _texts(self.input), _tokens(self.input)
        if not texts and not tokens:
            raise InvalidField(f"input: expected {INPUT}", param="input")
        return EmbeddingRequest(
            model=self.model,
            input=texts,
            tokens=tokens,
            dimensions=self.dimensions,
            user=self.user,
            extra=self.extra,
        )


async def create_embeddings(request: HttpRequest) -> HttpResponse:
    """Embed."""
    body: EmbeddingBody = await request.read(EmbeddingBody)
    vectors = await idempotency.embed(request, body.request())
    return HttpResponse(body=dumps(embeddings_body(body.model, vectors, body.encoding_format)))


def _texts(value: Json) -> tuple[str, ...]:
    texts = [value] if isinstance(value, str) else value
    if isinstance(texts, list) and all(isinstance(text, str) and text for text in texts):
        return tuple(texts)
    return ()


def _tokens(value: Json) -> tuple[tuple[int, ...], ...]:
    rows = value if isinstance(value, list) and all(isinstance(v, list) for v in value) else [value]
    try:
        tokens = structure(rows, tuple[tuple[int, ...], ...])
    except Exception:
        return ()
    return tokens if all(tokens) else ()
