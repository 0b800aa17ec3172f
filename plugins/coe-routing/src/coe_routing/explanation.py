"""What would happen to a request, and why: every router is asked, nothing is answered."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from attrs import field, frozen
from attrs.validators import min_len

from coe_core.access import GroupName, Principal
from coe_core.admission import Ask, admit
from coe_core.application import AUTO, Application
from coe_core.caller import ModelCaller
from coe_core.contract import Router
from coe_core.engine import keep
from coe_core.error import Forbidden
from coe_core.http import HttpRequest, HttpResponse, HttpRoute, json_response
from coe_core.message import Json, user
from coe_core.patience import in_time
from coe_core.progress import Progress
from coe_core.request import ChatRequest
from coe_core.service import Clock
from coe_core.turn import Candidate, Outcome, Route, Turn


@frozen(kw_only=True)
class Question:
    """A request to be explained."""

    text: str = field(validator=min_len(1))
    """What a user would write."""
    group: str | None = None
    """Whose request it is; your own group's if left out. Another group's is for admins to ask."""
    headers: Mapping[str, str] = field(factory=dict)
    """The headers that it would come with."""
    metadata: Mapping[str, Json] = field(factory=dict)
    """The `metadata` that it would have."""


@frozen(kw_only=True)
class Step:
    """What one router says."""

    router: str
    decides: bool
    reason: str
    target: str = ""
    route: str = ""
    """The route's name, if it has one."""
    confidence: float | None = None
    candidates: tuple[Candidate, ...] = ()


@frozen(kw_only=True)
class Explanation:
    """What would happen: the decision, and what every router says, in the order they are asked."""

    target: str
    router: str
    route: str
    confidence: float
    reason: str
    tools: tuple[str, ...] | None
    layers: tuple[str, ...] | None
    steps: tuple[Step, ...]


@asynccontextmanager
async def asking(
    application: Application, question: Question, principal: Principal
) -> AsyncIterator[Turn]:
    """Make a turn to ask the routers about. What the asking cost, an embedding mostly, is recorded
    as an embedding by the same principal would be: no call is without a record.
    """
    request = ChatRequest(
        model=AUTO, messages=(user(question.text),), metadata=question.metadata or None
    )
    headers = {name.lower(): value for name, value in question.headers.items()}
    admission = await admit(application, Ask(request=request, principal=principal, headers=headers))
    progress = Progress.of(admission, application.need(Clock), application.need(ModelCaller))
    try:
        yield progress.turn
    finally:
        if progress.turn.ledger.attempts:
            asked = progress.turn.ledger.attempts[0].model
            progress.route = Route(model=asked, reason="an explanation", router="explicit")
            await keep(application, progress.interaction(Outcome(status="success")))


async def explain(
    application: Application, question: Question, principal: Principal
) -> Explanation:
    """Ask every router, as the engine would ask until one decides."""
    async with asking(application, question, principal) as turn:
        asked = [await _asked(router, turn) for router in application.routers]
    steps = tuple(step for step, _ in asked)
    for step, route in asked:
        if route is not None and step.decides:
            return _decision(route, step.router, steps)
    reason = "no router decides"
    default = Route(model=application.settings.routing.default, confidence=0.0, reason=reason)
    return _decision(default, "default", steps)


def _decision(route: Route, router: str, steps: tuple[Step, ...]) -> Explanation:
    return Explanation(
        target=route.target,
        router=router,
        route=route.name,
        confidence=route.confidence,
        reason=route.reason,
        tools=route.tools,
        layers=route.layers,
        steps=steps,
    )


async def _asked(router: Router, turn: Turn) -> tuple[Step, Route | None]:
    try:
        route = await in_time(turn.application, router.name, router.route(turn))
    except Exception as error:
        reason = f"it raised {type(error).__name__}: {error}"
        return Step(router=router.name, decides=False, reason=reason), None
    if route is None:
        abstention = getattr(router, "abstention", None)
        reason = await abstention(turn) if abstention is not None else "it declines"
        return Step(router=router.name, decides=False, reason=reason), None
    targets = turn.application.agents if route.agent else _models(turn)
    leads = route.target in targets
    step = Step(
        router=router.name,
        decides=leads,
        reason=route.reason if leads else f"{route.target!r} is nothing that the group may use",
        target=route.target,
        route=route.name,
        confidence=route.confidence,
        candidates=route.candidates,
    )
    return step, route


def _models(turn: Turn) -> Mapping[str, object]:
    return turn.application.allowed_models(turn.principal)


def asked_for(question: Question, principal: Principal) -> Principal:
    """Return as whom a question is asked. Raises `Forbidden`."""
    if question.group in (None, principal.group):
        return principal
    if not principal.may("admin"):
        raise Forbidden("only an admin may ask about another group's requests")
    return Principal(group=GroupName(str(question.group)), key_id=principal.key_id)


async def explain_over_http(request: HttpRequest) -> HttpResponse:
    """Answer `POST /coe/v1/routes/explain`."""
    question = request.json(Question)
    principal = asked_for(question, request.principal)
    return json_response(await explain(request.application, question, principal))


ROUTE = HttpRoute(
    method="POST",
    path="/coe/v1/routes/explain",
    handler=explain_over_http,
    role="operator",
    summary="Say where a request would go, and why",
    request=Question,
    response=Explanation,
)
