"""`GET /healthz` and `GET /readyz`: for whoever watches over the process."""

from __future__ import annotations

from coe_core.http import HttpRequest, HttpResponse, json_response


async def live(_: HttpRequest) -> HttpResponse:
    """Say that the process answers."""
    return json_response({"status": "ok"})


async def ready(request: HttpRequest) -> HttpResponse:
    """Say that turns are taken, and what does not work. While the server drains it says 503."""
    return json_response({"status": "ready", "problems": request.application.problems})
