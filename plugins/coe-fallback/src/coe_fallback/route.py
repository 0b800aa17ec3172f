"""`GET` and `PUT /coe/v1/fallback`."""

from __future__ import annotations

from attrs import frozen

from coe_core.http import HttpRequest, HttpResponse, HttpRoute, json_response
from coe_fallback.settings import Settings
from coe_fallback.switch import Standing, standing, switch

PATH = "/coe/v1/fallback"


@frozen(kw_only=True)
class Wanted:
    """What an operator wants."""

    fallback_to_openai: bool
    """Whether the last resort is to be on."""


@frozen
class Handlers:
    """Show and switch."""

    settings: Settings

    async def show(self, request: HttpRequest) -> HttpResponse:
        """Show how the fallback stands."""
        return json_response(await standing(request.application, self.settings))

    async def put(self, request: HttpRequest) -> HttpResponse:
        """Switch the last resort, and show how it stands then."""
        wanted: Wanted = request.json(Wanted)
        principal = request.principal
        actor = principal.key_id or principal.user or principal.group
        application, on = request.application, wanted.fallback_to_openai
        await switch(application, self.settings, on=on, actor=actor)
        return json_response(await standing(application, self.settings))


def routes(settings: Settings) -> list[HttpRoute]:
    """Make the two routes."""
    handlers = Handlers(settings)
    return [
        HttpRoute(
            method="GET",
            path=PATH,
            handler=handlers.show,
            role="operator",
            summary="Show the last resort and the breakers",
            response=Standing,
        ),
        HttpRoute(
            method="PUT",
            path=PATH,
            handler=handlers.put,
            role="operator",
            summary="Switch the last resort on or off",
            request=Wanted,
            response=Standing,
        ),
    ]
