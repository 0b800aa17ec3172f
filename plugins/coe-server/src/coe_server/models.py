"""`GET /v1/models` and `GET /v1/models/{id}`."""

from __future__ import annotations

from coe_core.application import AUTO
from coe_core.http import HttpRequest, HttpResponse
from coe_server.wire import dumps, model_body


async def list_models(request: HttpRequest) -> HttpResponse:
    """List `auto` and every alias that the group may use."""
    allowed = request.application.allowed_models(request.principal)
    data = [model_body(AUTO, None), *(model_body(name, model) for name, model in allowed.items())]
    return HttpResponse(body=dumps({"object": "list", "data": data}))


async def retrieve_model(request: HttpRequest) -> HttpResponse:
    """Describe one."""
    alias = request.path_params["id"]
    model = None if alias == AUTO else request.application.model(alias, request.principal)
    return HttpResponse(body=dumps(model_body(alias, model)))
