"""`GET /healthz` and `GET /readyz`: for whoever watches over the process."""

from __future__ import annotations

from coe_core.http import HttpRequest, HttpResponse, json_response
from coe_core.monitor import evaluate, measure
from coe_core.service import Clock


async def live(_: HttpRequest) -> HttpResponse:
    """Say that the process answers."""
    return json_response({"status": "ok"})


async def ready(request: HttpRequest) -> HttpResponse:
    """Say that turns are taken, and what does not work; to an operator also what the monitors
    measure and which alerts hold. While the server drains it says 503.
    """
    application = request.application
    seen = {"status": "ready", "problems": application.problems}
    if request.principal.may("operator"):
        held = await evaluate(application, application.need(Clock).now())
        seen["alerts"] = [alert for alerts in held.values() for alert in alerts or ()]
        seen["samples"] = await measure(application)
    return json_response(seen)
