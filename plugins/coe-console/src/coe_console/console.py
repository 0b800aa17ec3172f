"""The console's pages. Everything on them is read from the application, or is a plugin's panel."""

from __future__ import annotations

import asyncio
import functools
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from importlib.resources import files
from typing import Any, Literal
from urllib.parse import parse_qs, quote, urlencode
from zoneinfo import ZoneInfo

from attrs import define, frozen
from loguru import logger

from coe_console.chart import Chart
from coe_console.figure import columns_of_figures, written
from coe_console.language import Language, preferred, texts
from coe_core.access import LOCAL, NOBODY, AccessRole, Credentials
from coe_core.application import Application
from coe_core.contract import Alert, Panel
from coe_core.error import CoeError, Forbidden, InvalidField, NotFound, Unauthenticated
from coe_core.http import KEY_COOKIE, HttpRequest, HttpResponse, HttpRoute
from coe_core.identity import TurnId
from coe_core.panel import Link, PanelItem, Text, Toggle
from coe_core.record import Interaction
from coe_core.service import Clock, Deployment, RecordReader
from coe_core.toggle import component_toggle, plugin_toggle

HOME = "/console"
SHOWN_TURNS = 50
LIVE = timedelta(hours=1)
"""How far back the list of turns looks."""
SIGNED_IN_S = 12 * 3600
SEE_OTHER = 303
UNAUTHORIZED = 401

HEADERS: Mapping[str, str] = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; connect-src 'self'; style-src 'self'; "
        "img-src 'self' data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "cache-control": "no-store",
    "referrer-policy": "same-origin",
    "x-content-type-options": "nosniff",
}

Page = Callable[["Visit"], Awaitable[HttpResponse]]


@frozen(kw_only=True)
class ShownPanel:
    """A plugin's panel, as it was when it was asked."""

    name: str
    title: str
    items: Sequence[PanelItem] = ()
    failed: bool = False


@define
class Visit:
    """One look at a page."""

    request: HttpRequest
    language: Language
    zone: ZoneInfo

    def text(self, english: str) -> str:
        """Say it in the visitor's language."""
        return texts(self.language).get(english, english)

    def time(self, at: datetime) -> str:
        """Show a time in the console's zone."""
        return at.astimezone(self.zone).strftime("%Y-%m-%d %H:%M:%S")

    def failure(self, name: str) -> str:
        """Name a class of failure."""
        return self.text(name.replace("_", " "))

    def say(self, text: Text | datetime) -> str:
        """Say what a panel says."""
        if isinstance(text, datetime):
            return self.time(text)
        if isinstance(text, str):
            return text
        return text.get(self.language) or text.get("en", "")

    def place(self, panel: str, query: Mapping[str, str]) -> str:
        """Tell where a panel is, asked that."""
        return f"{HOME}/panels/{quote(panel, safe='')}{'?' * bool(query)}{urlencode(query)}"

    def href(self, link: Link, panel: str) -> str:
        """Tell where a link of a panel leads."""
        if link.turn is not None:
            return f"{HOME}/turns/{quote(link.turn, safe='')}"
        return self.place(panel, link.query or {})

    def form(self) -> Mapping[str, str]:
        """Return the fields of the form that was sent."""
        fields = parse_qs(self.request.body.decode("utf-8", "replace"))
        return {name: values[-1] for name, values in fields.items()}

    def render(self, template: str, *, status: int = 200, **values: Any) -> HttpResponse:
        """Answer with a page."""
        html = (
            _templates()
            .get_template(template)
            .render(
                visit=self,
                t=self.text,
                principal=self.request.principal,
                signed_in=self.request.principal not in (LOCAL, NOBODY),
                chart=Chart.of,
                small=Chart.small,
                written=written,
                figures=columns_of_figures,
                **values,
            )
        )
        return HttpResponse(
            status=status,
            body=html.encode(),
            content_type="text/html; charset=utf-8",
            headers=HEADERS,
        )


@frozen
class Console:
    """Makes the routes."""

    language: Literal["auto", "en", "ko"]
    zone: ZoneInfo
    first: Sequence[str]
    """The panels that stand first on the overview."""

    def routes(self) -> list[HttpRoute]:
        """Return every page and every form's target."""
        return [
            self._route("GET", "", self.overview, "viewer", "What there is to see"),
            self._route("GET", "/turns", turns, "viewer", "The latest turns"),
            self._route("GET", "/turns/{turn_id}", story, "viewer", "What happened in a turn"),
            self._route("GET", "/panels/{name}", panel_alone, "viewer", "A panel, asked something"),
            self._route("GET", "/live", live, "viewer", "The latest turns, for an open page"),
            self._route("GET", "/plugins", plugins, "viewer", "Plugins and their problems"),
            self._route("POST", "/switch", switch_over, "operator", "Switch on or off"),
            self._route("POST", "/toggle", toggle, "operator", "Switch what a panel offers"),
            self._route("POST", "/sign-in", sign_in, None, "Sign in with a key"),
            self._route("POST", "/sign-out", sign_out, None, "Sign out"),
            _file("style.css", "style.css", "text/css; charset=utf-8", "The pages' look"),
            _file("htmx.js", "vendored/htmx.min.js", "text/javascript; charset=utf-8", "htmx"),
        ]

    def _route(
        self,
        method: Literal["GET", "POST"],
        path: str,
        page: Page,
        role: AccessRole | None,
        summary: str,
    ) -> HttpRoute:
        async def show(request: HttpRequest) -> HttpResponse:
            visit = self._visit(request)
            try:
                if role is not None:
                    if request.principal == NOBODY:
                        return visit.render("sign_in.html", status=UNAUTHORIZED, wrong=False)
                    _check_role(visit, role)
                return await page(visit)
            except CoeError as error:
                return visit.render("error.html", status=error.status, error=error)

        return HttpRoute(
            method=method, path=HOME + path, handler=show, role=role, page=True, summary=summary
        )

    async def overview(self, visit: Visit) -> HttpResponse:
        """Show the panels of all plugins, what alarms, and what is wrong with plugins."""
        application = visit.request.application
        panels = await asyncio.gather(*(_show(visit, p, {}) for p in application.panels))
        shown = {panel.name: panel for panel in panels if panel.items or panel.failed}
        first = [shown.pop(name) for name in self.first if name in shown]
        return visit.render(
            "overview.html",
            first=first,
            others=[*shown.values()],
            alerts=await _alerts(visit),
            problems=application.problems,
            turns=await _latest(visit, 10),
            paused="paused" in visit.request.query,
        )

    def _visit(self, request: HttpRequest) -> Visit:
        language = self.language
        if language == "auto":
            language = preferred(request.headers.get("accept-language", ""))
        return Visit(request, language, self.zone)


def _check_role(visit: Visit, role: AccessRole) -> None:
    if not visit.request.principal.may(role):
        raise Forbidden(visit.text("This needs the role {role}.").format(role=role))


async def panel_alone(visit: Visit) -> HttpResponse:
    """Show one panel, asked what the query says."""
    panel = _panel(visit, visit.request.path_params["name"])
    shown = await _show(visit, panel, visit.request.query)
    return visit.render("panel.html", panel=shown)


def _panel(visit: Visit, name: str) -> Panel:
    for panel in visit.request.application.panels:
        if panel.name == name:
            return panel
    raise NotFound(visit.text("There is no such panel."))


async def live(visit: Visit) -> HttpResponse:
    """Show the latest turns alone: a page that is open asks for them again and again."""
    return visit.render("live.html", turns=await _latest(visit, 10))


async def _show(visit: Visit, panel: Panel, query: Mapping[str, str]) -> ShownPanel:
    title = visit.say(panel.title) or panel.name
    try:
        items = await panel.show(visit.request.principal, query)
    except Exception as error:
        logger.bind(panel=panel.name).opt(exception=error).error("a panel raised")
        return ShownPanel(name=panel.name, title=title, failed=True)
    return ShownPanel(name=panel.name, title=title, items=items)


async def _alerts(visit: Visit) -> list[Alert]:
    if not visit.request.principal.may("operator"):
        return []
    now = visit.request.application.need(Clock).now()
    found: list[Alert] = []
    for rule in visit.request.application.alert_rules:
        try:
            found += await rule.evaluate(now)
        except Exception as error:
            logger.bind(rule=rule.name).opt(exception=error).error("an alert rule raised")
    return found


async def _latest(visit: Visit, limit: int) -> Sequence[Interaction]:
    """Read the visitor's group's latest turns, newest first."""
    application = visit.request.application
    since = application.need(Clock).now() - LIVE
    reader = application.need(RecordReader)
    return await reader.newest(visit.request.principal.group, limit, since=since)


async def turns(visit: Visit) -> HttpResponse:
    """List the latest turns of the visitor's group."""
    return visit.render("turns.html", turns=await _latest(visit, SHOWN_TURNS))


async def story(visit: Visit) -> HttpResponse:
    """Tell a turn from its request to its outcome."""
    reader = visit.request.application.need(RecordReader)
    turn_id = TurnId(visit.request.path_params["turn_id"])
    turn = await reader.interaction(visit.request.principal.group, turn_id)
    if turn is None:
        raise NotFound(visit.text("Your group has no such turn."))
    return visit.render("turn.html", turn=turn)


async def plugins(visit: Visit) -> HttpResponse:
    """List the plugins with what they contribute, and what is wrong with them."""
    application = visit.request.application
    return visit.render("plugins.html", plugins=application.plugins, problems=application.problems)


async def switch_over(visit: Visit) -> HttpResponse:
    """Switch a plugin, or a component of one, on or off."""
    form = visit.form()
    application = visit.request.application
    reports = {report.name: report for report in application.plugins}
    report = reports.get(form.get("plugin", ""))
    if report is None or form.get("on") not in ("yes", "no"):
        raise InvalidField(visit.text("There is no such switch."))
    component = form.get("component")
    key = component_toggle(component) if component else plugin_toggle(report.name)
    actor = visit.request.principal.key_id or "console"
    await application.need(Deployment).change(key, form["on"] == "yes", actor=actor)
    return _go(f"{HOME}/plugins")


async def toggle(visit: Visit) -> HttpResponse:
    """Switch what a panel offers the visitor to switch, and nothing else."""
    form = visit.form()
    panel = _panel(visit, form.get("panel", ""))
    offered = await panel.show(visit.request.principal, {})
    keys = [item.key for item in offered if isinstance(item, Toggle) and _may(visit, item)]
    if form.get("key") not in keys or form.get("on") not in ("yes", "no"):
        raise InvalidField(visit.text("There is no such switch."))
    actor = visit.request.principal.key_id or "console"
    deployment = visit.request.application.need(Deployment)
    await deployment.change(form["key"], form["on"] == "yes", actor=actor)
    return _go(HOME)


def _may(visit: Visit, item: Toggle) -> bool:
    return visit.request.principal.may(item.role)


async def sign_in(visit: Visit) -> HttpResponse:
    """Take a good key into the browser's cookie."""
    key = visit.form().get("key", "").strip()
    if not await _is_good(visit.request.application, key):
        return visit.render("sign_in.html", status=UNAUTHORIZED, wrong=True)
    return _go(HOME, cookie=f"{KEY_COOKIE}={key}; Max-Age={SIGNED_IN_S}")


async def _is_good(application: Application, key: str) -> bool:
    if not re.fullmatch(r"[!-:<-~]+", key):  # What a cookie can carry.
        return False
    try:
        asked = [await a.authenticate(Credentials(token=key)) for a in application.authenticators]
    except Unauthenticated:
        return False
    return any(principal is not None for principal in asked)


async def sign_out(_: Visit) -> HttpResponse:
    """Take the key out of the browser again."""
    return _go(HOME, cookie=f"{KEY_COOKIE}=; Max-Age=0")


def _go(path: str, *, cookie: str | None = None) -> HttpResponse:
    headers = {**HEADERS, "location": path}
    if cookie is not None:
        headers["set-cookie"] = f"{cookie}; Path={HOME}; HttpOnly; SameSite=Strict"
    return HttpResponse(status=SEE_OTHER, headers=headers)


def _file(name: str, place: str, content_type: str, summary: str) -> HttpRoute:
    """Make the route of a file that the pages load."""

    async def show(_: HttpRequest) -> HttpResponse:
        content = (files("coe_console") / place).read_bytes()
        headers = {**HEADERS, "cache-control": "no-cache"}
        return HttpResponse(body=content, content_type=content_type, headers=headers)

    path = f"{HOME}/{name}"
    return HttpRoute(method="GET", path=path, handler=show, role=None, page=True, summary=summary)


@functools.cache
def _templates() -> Any:
    """Load Jinja with the first page."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader("coe_console"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
