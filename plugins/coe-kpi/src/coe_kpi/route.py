"""`GET /coe/v1/kpis`: the KPIs of a window, of one's own group; for operators, of all."""

from __future__ import annotations

from zoneinfo import ZoneInfo

from attrs import evolve

from coe_core.codec import structure
from coe_core.error import Forbidden, InvalidField
from coe_core.http import HttpRequest, HttpResponse, HttpRoute, json_response
from coe_core.service import Clock
from coe_core.settings import nearest
from coe_kpi.book import Book
from coe_kpi.report import Query, Report, report

PARAMETERS = ("window", "group", "route", "model", "by")


def kpi_route(book: Book, zone: ZoneInfo) -> HttpRoute:
    """Make the route."""

    async def show(request: HttpRequest) -> HttpResponse:
        query = _permitted(request, _query(request))
        now = request.application.need(Clock).now()
        return json_response(await book.ask(lambda store: report(store, query, now, zone)))

    return HttpRoute(
        method="GET",
        path="/coe/v1/kpis",
        handler=show,
        role="viewer",
        summary="Show the KPIs of a window",
        query=Query,
        response=Report,
    )


def _query(request: HttpRequest) -> Query:
    for name in request.query:
        if name not in PARAMETERS:
            hint = nearest(name, PARAMETERS)
            raise InvalidField(f"there is no parameter {name!r:.40}{hint}", param=name)
    query: Query = structure(dict(request.query), Query)
    return query


def _permitted(request: HttpRequest, query: Query) -> Query:
    """Show a viewer its own group, and no sign of another."""
    principal = request.principal
    if principal.may("operator"):
        return query
    if query.group not in (None, principal.group):
        raise Forbidden("the KPIs of other groups need the role 'operator'")
    return evolve(query, group=principal.group)
