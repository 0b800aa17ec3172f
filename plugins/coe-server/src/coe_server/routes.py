"""The routes of the API."""

from __future__ import annotations

from coe_core.http import HttpRoute
from coe_server import openapi, shape
from coe_server.chat import ChatBody, complete_chat
from coe_server.embeddings import EmbeddingBody, create_embeddings
from coe_server.health import live, ready
from coe_server.models import list_models, retrieve_model
from coe_server.responses.handler import create_response, read_response
from coe_server.responses.request import ResponseRequest
from coe_server.responses.response import Response

ROUTES = (
    HttpRoute(
        method="POST",
        path="/v1/chat/completions",
        handler=complete_chat,
        summary="Answer a conversation",
        request=ChatBody,
        response=shape.Completion,
        streams=True,
        turns=True,
        headers=shape.TurnHeaders,
        response_headers=shape.AnswerHeaders,
    ),
    HttpRoute(
        method="POST",
        path="/v1/responses",
        handler=create_response,
        summary="Answer, in the terms of the Responses API",
        request=ResponseRequest,
        response=Response,
        streams=True,
        turns=True,
        headers=shape.TurnHeaders,
        response_headers=shape.AnswerHeaders,
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
        turns=True,
        headers=shape.KeyHeader,
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
