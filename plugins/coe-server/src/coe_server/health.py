"""`GET /healthz` and `GET /readyz`: for whoever watches over the process."""

from __future__ import annotations

from coe_core.http import HttpRequest, HttpResponse, json_response
from coe_core.monitor import evaluate, measure
from coe_core.service import Clock


async def live(_: HttpRequest) -> HttpResponse:
    """Say that the process answers."""
    return json_response({"status": "ok"})


async def ready(request: HttpRequest) -> HttpResponse:
    """Say that turns are taken, and which plugins do not work; to an operator also why, what the
    monitors measure and which alerts hold. While the server drains it says 503.
    """
    application = request.application
    if not request.principal.may("operator"):
        # The texts name files and settings of the machine.
        named = [{"plugin": p.plugin, "stage": p.stage} for p in application.problems]
        return json_response({"status": "ready", "problems": named})
    held = await evaluate(application, application.need(Clock).now())
    return json_response(
        {
            "status": "ready",
            "problems": application.problems,
            "alerts": [alert for alerts in held.values() for alert in alerts or ()],
            "samples": await measure(application),
        }
    )
