"""The plugin: the routes of the API, and the command that serves them."""

from __future__ import annotations

from collections.abc import Sequence

import click
from attrs import frozen

from coe_core import hookimpl
from coe_core.compose import Context
from coe_core.http import HttpRoute
from coe_server import openapi, shape
from coe_server.chat import ChatBody, complete_chat
from coe_server.command import serve_command
from coe_server.embeddings import EmbeddingBody, create_embeddings
from coe_server.health import live, ready
from coe_server.models import list_models, retrieve_model
from coe_server.responses.handler import create_response, read_response
from coe_server.responses.request import ResponseRequest
from coe_server.responses.response import Response
from coe_server.settings import Settings

IDEMPOTENCY = {
    "Idempotency-Key": "The same request under the same key gets the same answer for 24 hours.",
}
SESSION = {"X-CoE-Session": "The session that the turn belongs to."}
TURN_HEADERS = {
    "x-coe-turn": "The turn's id.",
    "x-coe-session": "The session's id.",
    "x-ratelimit-limit-requests": "Requests per minute, if the group has a limit.",
    "x-ratelimit-remaining-requests": "What is left of them.",
    "x-ratelimit-reset-requests": "When all of them are there again.",
    "x-ratelimit-limit-tokens": "Tokens per minute, if the group has a limit.",
    "x-ratelimit-remaining-tokens": "What is left of them.",
    "x-ratelimit-reset-tokens": "When all of them are there again.",
}

ROUTES = (
    HttpRoute(
        method="POST",
        path="/v1/chat/completions",
        handler=complete_chat,
        summary="Answer a conversation",
        request=ChatBody,
        response=shape.Completion,
        streams=True,
        headers=IDEMPOTENCY | SESSION,
        response_headers=TURN_HEADERS,
    ),
    HttpRoute(
        method="POST",
        path="/v1/responses",
        handler=create_response,
        summary="Answer, in the terms of the Responses API",
        request=ResponseRequest,
        response=Response,
        streams=True,
        headers=IDEMPOTENCY | SESSION,
        response_headers=TURN_HEADERS,
    ),
    HttpRoute(
        method="GET",
        path="/v1/responses/{id}",
        handler=read_response,
        summary="Show a response again",
        response=Response,
    ),
    HttpRoute(
        method="POST",
        path="/v1/embeddings",
        handler=create_embeddings,
        summary="Embed texts",
        request=EmbeddingBody,
        response=shape.EmbeddingList,
        headers=IDEMPOTENCY,
    ),
    HttpRoute(
        method="GET",
        path="/v1/models",
        handler=list_models,
        role="viewer",
        summary="List the models",
        response=shape.ModelList,
    ),
    HttpRoute(
        method="GET",
        path="/v1/models/{id}",
        handler=retrieve_model,
        role="viewer",
        summary="Describe a model",
        response=shape.ModelCard,
    ),
    HttpRoute(
        method="GET",
        path="/healthz",
        handler=live,
        role=None,
        summary="Say that the process answers",
        response=shape.Liveness,
    ),
    HttpRoute(
        method="GET",
        path="/readyz",
        handler=ready,
        role=None,
        summary="Say that turns are taken, and which plugins do not work",
        response=shape.Readiness,
    ),
    HttpRoute(
        method="GET",
        path="/openapi.json",
        handler=openapi.show,
        role=None,
        summary="Describe this API",
        response=shape.Document,
    ),
)


@frozen
class ServerPlugin:
    settings: Settings

    @hookimpl
    def coe_http_routes(self, ctx: Context) -> Sequence[HttpRoute]:
        del ctx
        return ROUTES

    @hookimpl
    def coe_cli_commands(self, ctx: Context) -> Sequence[click.Command]:
        del ctx
        return [serve_command(self.settings)]
