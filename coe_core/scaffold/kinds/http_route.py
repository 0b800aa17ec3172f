"""Answer `GET /example/models` with the models that the caller may use."""

from attrs import frozen

from coe_core import HttpRequest, HttpResponse, HttpRoute, hookimpl, json_response
from coe_core.compose import Context


@frozen(kw_only=True)
class Models:
    aliases: tuple[str, ...]


async def models(request: HttpRequest) -> HttpResponse:
    allowed = request.application.allowed_models(request.principal)
    return json_response(Models(aliases=tuple(sorted(allowed))))


ROUTE = HttpRoute(
    method="GET",
    path="/example/models",
    handler=models,
    summary="List the models that the caller may use.",
    response=Models,
)


@frozen
class ExamplePlugin:
    @hookimpl
    def coe_http_routes(self, ctx: Context) -> list[HttpRoute]:
        return [ROUTE]
