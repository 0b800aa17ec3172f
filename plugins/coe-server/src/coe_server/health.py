"""`GET /healthz` and `GET /readyz`: for whoever watches over the process."""

from __future__ import annotations

from coe_core.http import HttpRequest, HttpResponse, json_response
from coe_core.monitor import evaluate, measure
from coe_core.service import Clock, Journal


async def live(_: HttpRequest) -> HttpResponse:
    """Say that the process answers."""
    return json_response({"status": "ok"})


async def ready(request: HttpRequest) -> HttpResponse:
    """Say that turns are taken, and which plugins do not work; to an operator also why, what the
    monitors measure and which alerts hold. While turns are refused because they cannot be recorded,
    and while the server drains, it says 503.
    """
    application = request.application
    journal = application.services.get(Journal)
    is_refusing = getattr(journal, "refusal", None) is not None
    status, code = ("refusing", 503) if is_refusing else ("ready", 200)
    if not request.principal.may("operator"):
        # The texts name files and settings of the machine.
        named = [{"plugin": p.plugin, "stage": p.stage} for p in application.problems]
        return json_response({"status": status, "problems": named}, status=code)
    held = await evaluate(application, application.need(Clock).now())
    return json_response(
        {
            "status": status,
            "problems": application.problems,
            "alerts": [alert for alerts in held.values() for alert in alerts or ()],
            "samples": await measure(application),
        },
        status=code,
    )
