"""What is asked of an upstream."""

from __future__ import annotations

from typing import Any

from coe_core.codec import unstructure
from coe_core.message import Json
from coe_core.model import Model
from coe_core.request import ChatRequest, EmbeddingRequest

OWN_FIELDS = ("coe", "stream_options")
"""What is meant for CoE itself, or is decided here."""


def chat_body(model: Model, request: ChatRequest, *, report_usage: bool) -> dict[str, Any]:
    """Make the body of a chat completion; every field that the client sent goes along.

    `report_usage` asks for the usage at the end of a stream, so that the cost is known whether or
    not the client cares.
    """
    body: dict[str, Any] = {n: v for n, v in request.fields.items() if n not in OWN_FIELDS}
    body["model"] = model.name
    if request.stream and report_usage:
        options = unstructure(request.stream_options) if request.stream_options else {}
        body["stream_options"] = {**options, "include_usage": True}
    if request.metadata and "session_id" in request.metadata:
        _forget_session(body)
    return body


def embedding_body(model: Model, request: EmbeddingRequest, form: str) -> dict[str, Json]:
    """Make the body of an embedding request, `form` being `float` or `base64`."""
    optional = {"dimensions": request.dimensions, "user": request.user}
    extra = {name: value for name, value in request.extra.items() if name not in OWN_FIELDS}
    return {
        **extra,
        **{name: value for name, value in optional.items() if value is not None},
        "model": model.name,
        "input": request.tokens or request.input,
        "encoding_format": form,
    }


def _forget_session(body: dict[str, Any]) -> None:
    """Keep our session's id to ourselves; OpenAI refuses metadata on what it does not store."""
    rest = {name: value for name, value in body["metadata"].items() if name != "session_id"}
    body["metadata"] = rest
    if not rest:
        del body["metadata"]
