"""The console's pages, asked as a server asks them, in an application of real parts."""

import gzip
import re
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any, get_args

import pytest
from attrs import frozen
from coe_console.language import preferred, texts
from coe_console.plugin import ConsolePlugin, Settings
from hypothesis import given
from hypothesis import strategies as st

from coe_core import hookimpl, user
from coe_core.access import LOCAL, NOBODY, RANK, GroupName, Principal
from coe_core.admission import Ask
from coe_core.answer import collect
from coe_core.application import Application
from coe_core.contract import Alert
from coe_core.engine import run
from coe_core.http import HttpRequest, HttpResponse, HttpRoute
from coe_core.identity import TurnId
from coe_core.message import Role
from coe_core.panel import (
    Action,
    Choice,
    Field,
    Link,
    Note,
    Series,
    Stat,
    Story,
    Table,
    Toggle,
)
from coe_core.request import ChatRequest
from coe_core.service import StateStore
from coe_core.testing import HttpRouteContract
from coe_core.testing.contracts.plugin import PluginContract
from coe_core.testing.scripted import ScriptedProvider
from coe_core.turn import FailureClass

HURT = "<script>alert('말')</script>"
SETTINGS = '[routing]\ndefault = "scripted"\n[plugins.console]\nlanguage = "en"\n'


@frozen
class Wall:
    """A panel of every kind of item."""

    name: str = "wall"
    title: Any = {"en": "Wall", "ko": "벽"}

    async def show(self, principal: Principal, query: Any) -> Sequence[Any]:
        at = datetime(2026, 11, 22, tzinfo=UTC)
        return [
            Choice(
                label="Window",
                options=(Link(text={"en": "hour", "ko": "시간"}, query={"window": "1h&x"}),),
                chosen=0,
            ),
            Stat(
                label="Rate", value="98 %", low="96 %", high="99 %", before="97 %", change="better"
            ),
            Stat(label="Calls", value=HURT),
            Series(label="Load", unit="1/s", points=((at, 1.0), (at, None), (at, 3.0))),
            Table(columns=("a", "b"), rows=((HURT, "2"),)),
            Table(
                columns=("turn", "figure"),
                rows=((Link(text=at, turn=TurnId("t/1")), "1,234"),),
                caption="Turns",
            ),
            Story(steps=(("first", "this"), ("then", "that"))),
            Note(text=f"asked {query.get('q', 'nothing')}"),
            Field(label="Ask", name="q"),
            Toggle(label="Resort", key="params/resort", on=False, role="admin"),
            Action(label="Reset", path="/console/reset", role="operator"),
        ]


@frozen
class Fallen:
    name: str = "fallen"
    title: Any = {"en": "Fallen"}

    async def show(self, principal: Principal, query: Any) -> Sequence[Any]:
        raise RuntimeError("no")


@frozen
class Quiet:
    name: str = "quiet"
    title: Any = {"en": "Quiet"}

    async def show(self, principal: Principal, query: Any) -> Sequence[Any]:
        return []


@frozen
class Burning:
    name: str = "burning"

    async def evaluate(self, now: datetime) -> Sequence[Alert]:
        text = f"burning {HURT}"
        return [
            Alert(
                key="k",
                rule="r",
                severity="critical",
                text=text,
                said={"ko": "불타는 중"},
                playbook="p.md",
                pages={"ko": "p.ko.md"},
                at=now,
            )
        ]


class FullPlugin:
    @hookimpl
    def coe_panels(self, ctx: Any) -> Any:
        return [Quiet(), Wall(), Fallen()]

    @hookimpl
    def coe_alert_rules(self, ctx: Any) -> Any:
        return [Burning()]

    @hookimpl
    def coe_model_providers(self, ctx: Any) -> Any:
        return [ScriptedProvider(answers=(HURT,))]


Composed = Any


@pytest.fixture
def composed(application: Composed) -> AbstractAsyncContextManager[Application]:
    made: AbstractAsyncContextManager[Application] = application(
        SETTINGS, console=ConsolePlugin, full=FullPlugin
    )
    return made


async def get(
    application: Application,
    path: str,
    principal: Principal = LOCAL,
    *,
    method: str = "GET",
    place: str = "",
    **fields: Any,
) -> HttpResponse:
    (route,) = [r for r in application.http_routes if (r.method, r.path) == (method, path)]
    request = HttpRequest(
        method=method,
        path=path,
        path_params={"turn_id": place, "name": place},
        principal=principal,
        application=application,
        request_id="req_1",
        **fields,
    )
    return await route.handler(request)


def html(response: HttpResponse) -> str:
    assert isinstance(response.body, bytes)
    return response.body.decode()


def member(role: Any, group: str = "default") -> Principal:
    return Principal(group=GroupName(group), role=role, key_id="k")


async def said(application: Application, group: str = "default") -> str:
    ask = Ask(
        request=ChatRequest(model="auto", messages=(user(HURT),)),
        principal=member("member", group),
    )
    answer = await collect(run(application, ask))
    return answer.ended.record.id


async def test_every_kind_of_item_is_shown_and_no_text_is_taken_for_html(composed: Any) -> None:
    async with composed as application:
        await said(application)
        page = html(await get(application, "/console"))
    assert HURT not in page
    for seen in (
        *("98 %", "96 % – 99 %", "better", "<polyline", "this", "/console/reset", "Wall"),
        'href="/console/panels/wall?window=1h%26x" aria-current="true">hour<',
        'href="/console/turns/t%2F1">2026-11-22 09:00:00<',
        '<td class="number">1,234</td>',
        '<label for="wall-q">Ask</label>',
    ):
        assert seen in page, seen
    assert page.count("&lt;script&gt;") == 3
    assert "This panel failed" in page
    assert page.index("burning") < page.index("Wall")


async def test_what_stands_first_is_what_the_settings_say(application: Any) -> None:
    settings = f'{SETTINGS}first = ["none", "fallen"]\n'
    async with application(settings, console=ConsolePlugin, full=FullPlugin) as composed:
        page = html(await get(composed, "/console"))
    titles = re.findall(r"<h2[^>]*><a[^>]*>([^<]+)<", page)
    assert titles == ["Fallen", "Latest turns", "Wall"], "and what shows nothing is left out"


async def test_a_panel_alone_is_asked_what_the_address_says(composed: Any) -> None:
    async with composed as application:
        asked = {"place": "wall", "query": {"q": "why"}}
        page = html(await get(application, "/console/panels/{name}", **asked))
        missing = await get(application, "/console/panels/{name}", place="none")
    assert "<h1>Wall</h1>" in page
    assert "asked why" in page
    assert missing.status == 404


async def test_a_switch_of_a_panel_is_for_those_whom_it_is_offered_to(composed: Any) -> None:
    async with composed as application:
        store = application.need(StateStore)

        async def post(role: Any, body: bytes) -> int:
            form = {"method": "POST", "body": body}
            return (await get(application, "/console/toggle", member(role), **form)).status

        good = b"panel=wall&key=params/resort&on=yes"
        assert await post("viewer", good) == 403
        assert await post("operator", good) == 400
        assert "Resort" not in html(await get(application, "/console", member("operator")))
        assert "Resort" in html(await get(application, "/console", member("admin")))
        assert await post("admin", good.replace(b"params/resort", b"params/other")) == 400
        assert await post("admin", good.replace(b"wall", b"none")) == 404
        assert not await store.list("params/")
        assert await post("admin", good) == 303
        assert (await store.get("params/resort")).value is True


async def test_what_a_page_loads_is_small_comes_from_here_and_may_run(composed: Any) -> None:
    async with composed as application:
        await said(application)
        page = await get(application, "/console")
        live = await get(application, "/console/live")
        loaded = [await get(application, f"/console/{name}") for name in ("style.css", "htmx.js")]
    bodies = [answer.body for answer in (page, *loaded) if isinstance(answer.body, bytes)]
    assert sum(len(gzip.compress(body)) for body in bodies) < 60_000
    assert not re.search(r"""(?:src|href|action)=["']?(?:https?:)?//""", html(page))
    assert not re.search(r"<script>|<style|\son\w+=|style=", html(page))
    assert 'hx-get="/console/live"' in html(page)
    assert "<html" not in html(live)
    assert "<table" in html(live)
    assert "script-src 'self'" in page.headers["content-security-policy"]


async def test_a_turn_is_told_to_its_own_group_alone(composed: Any) -> None:
    async with composed as application:
        turn_id = await said(application, "연구")
        viewer, path = member("viewer", "연구"), "/console/turns/{turn_id}"
        told = html(await get(application, path, viewer, place=turn_id))
        assert HURT not in told
        assert told.count("&lt;script&gt;") == 2
        assert "scripted" in told
        for path in ("/console", "/console/turns"):
            assert turn_id in html(await get(application, path, member("viewer", "연구")))
            assert turn_id not in html(await get(application, path, member("admin", "다른")))
        other = await get(application, "/console/turns/{turn_id}", member("admin"), place=turn_id)
        assert other.status == 404
        assert turn_id not in html(other)


@pytest.mark.parametrize("path", ["/console", "/console/turns", "/console/plugins"])
async def test_whoever_has_not_signed_in_sees_the_form_alone(composed: Any, path: str) -> None:
    async with composed as application:
        response = await get(application, path, NOBODY)
    assert response.status == 401
    assert 'name="key"' in html(response)
    assert "scripted" not in html(response)
    assert "default-src 'none'" in response.headers["content-security-policy"]


async def test_a_viewer_looks_and_an_operator_switches(composed: Any) -> None:
    async with composed as application:
        form = {"method": "POST", "body": b"plugin=full&component=&on=no"}
        refused = await get(application, "/console/switch", member("viewer"), **form)
        assert refused.status == 403
        assert "Switch off" not in html(
            await get(application, "/console/plugins", member("viewer"))
        )
        assert "burning" not in html(await get(application, "/console", member("viewer")))
        done = await get(application, "/console/switch", member("operator"), **form)
        assert (done.status, done.headers["location"]) == (303, "/console/plugins")
        store = application.need(StateStore)
        assert (await store.get("toggles/plugins/full")).value is False
        form["body"] = b"plugin=full&component=panels.wall&on=yes"
        await get(application, "/console/switch", member("operator"), **form)
        assert (await store.get("toggles/components/panels.wall")).value is True


@pytest.mark.parametrize("body", [b"", b"plugin=none&on=no", b"plugin=full&on=maybe", b"\xff&=="])
async def test_a_switch_that_is_none_is_refused(composed: Any, body: bytes) -> None:
    async with composed as application:
        refused = await get(application, "/console/switch", method="POST", body=body)
        assert refused.status == 400
        assert not await application.need(StateStore).list("toggles/")


@pytest.mark.parametrize(
    ("asked", "language"),
    [
        ("", "en"),
        ("ko-KR,ko;q=0.9,en;q=0.8", "ko"),
        ("en-US,en;q=0.9,ko;q=0.8", "en"),
        ("fr, ko;q=0.3", "ko"),
        ("ko;q=0", "en"),
        ("ko;q=x", "en"),
    ],
)
def test_the_browser_chooses_the_language(asked: str, language: str) -> None:
    assert preferred(asked) == language


@given(st.text())
def test_any_header_chooses_one(asked: str) -> None:
    assert preferred(asked) in ("en", "ko")


async def test_korean_pages(application: Composed) -> None:
    settings = SETTINGS.replace('"en"', '"auto"')
    async with application(settings, console=ConsolePlugin, full=FullPlugin) as composed:
        page = html(await get(composed, "/console", headers={"accept-language": "ko"}))
    assert '<html lang="ko">' in page
    assert "벽" in page
    assert "최근 턴" in page
    assert "불타는 중" in page
    assert "p.ko.md" in page
    assert "burning" not in page


def test_every_text_has_its_korean_and_no_korean_lacks_a_text() -> None:
    folder = files("coe_console")
    sources = [*(folder / "templates").iterdir(), folder / "console.py"]
    code = "\n".join(source.read_text(encoding="utf-8") for source in sources)
    said = {text for _, text in re.findall(r"""\bt(?:ext)?\((["'])(.+?)\1\)""", code)}
    listed = re.findall(r"for (?:column|path, name) in \((.+?)\) %", code)
    said |= {text for some in listed for text in re.findall(r'"([A-Z][^"]*)"', some)}
    values = [*RANK, "success", "failed", "cancelled", "waiting", "ok", *get_args(Role)]
    values += [name.replace("_", " ") for name in get_args(FailureClass)]
    assert said | {*values, "info", "warning", "critical"} == set(texts("ko"))


def test_a_zone_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="Asia/Seoul"):
        Settings(zone="Mars/Base")


class TestPlugin(PluginContract):
    def make(self) -> type[ConsolePlugin]:
        return ConsolePlugin


class TestRoutes(HttpRouteContract):
    def make(self) -> HttpRoute:
        return next(
            r for r in ConsolePlugin(Settings()).coe_http_routes(None) if r.method == "POST"
        )  # type: ignore[arg-type]
