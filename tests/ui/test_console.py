"""The console in a real browser: each role, both languages, light and dark, with and without
JavaScript, by keyboard alone; axe-core finds nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from conftest import ROLES, Console, chat

PAGES = {
    "overview": "",
    "turns": "/turns",
    "plugins": "/plugins",
    "kpis": "/panels/kpi?window=7d",
    "routing": "/panels/kpi?figure=routing&by=route",
    "sessions": "/panels/kpi?behind=every",
    "no-sessions": "/panels/kpi?behind=no_route",
    "fallback": "/panels/fallback",
    "routes": "/panels/routes?text=Can+I+have+my+money+back%3F",
}
HEADINGS = {
    "en": (
        *("Overview", "Turns", "Plugins"),
        *("KPIs",) * 4,
        "When models fail",
        "Routes explained",
    ),
    "ko": (*("개요", "턴", "플러그인"), *("핵심 지표",) * 4, "모델이 실패할 때", "경로 설명"),
}


@contextmanager
def looking(browser: Browser, language: str = "en", **options: Any) -> Iterator[Page]:
    """Open a page; axe must get in beside the page's policy, which the last test looks at."""
    locale = {"en": "en-US", "ko": "ko-KR"}[language]
    context = browser.new_context(locale=locale, bypass_csp=True, **options)
    page = context.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: pytest.fail(str(error)))
    yield page
    context.close()
    assert all(url.startswith("http://127.0.0.1:") for url in asked)


def sign_in(page: Page, console: Console, role: str) -> None:
    page.goto(console.url)
    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    page.keyboard.press("Tab")
    page.keyboard.type(console.keys[role])
    page.keyboard.press("Enter")
    page.wait_for_url(console.url)
    expect(page.locator("header nav")).to_be_visible()


def violations(page: Page, axe: str) -> list[str]:
    page.evaluate(axe)
    found = page.evaluate("axe.run()")["violations"]
    return [f"{v['id']}: {[node['html'] for node in v['nodes']]}" for v in found]


@pytest.mark.parametrize("language", ["en", "ko"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("role", ROLES)
def test_every_page_in_every_guise(
    browser: Browser,
    console: Console,
    axe: str,
    screenshots: Path,
    role: str,
    scheme: Any,
    language: str,
) -> None:
    with looking(browser, language, color_scheme=scheme) as page:
        page.goto(console.url)
        assert violations(page, axe) == []
        page.screenshot(path=screenshots / f"sign-in-{language}-{scheme}.png")
        sign_in(page, console, role)
        for (name, path), heading in zip(PAGES.items(), HEADINGS[language], strict=True):
            page.goto(console.url + path)
            expect(page.locator("h1")).to_have_text(heading)
            expect(page.locator("html")).to_have_attribute("lang", language)
            assert violations(page, axe) == []
            file = f"{name}-{language}-{scheme}-{role}.png"
            page.screenshot(path=screenshots / file, full_page=True)
        page.goto(console.url)
        page.locator("#live td a").last.click()
        assert violations(page, axe) == []
        page.screenshot(path=screenshots / f"turn-{language}-{scheme}-{role}.png", full_page=True)


@pytest.mark.parametrize("language", ["en", "ko"])
def test_on_a_phone_the_page_is_as_wide_as_the_screen(
    browser: Browser, console: Console, axe: str, screenshots: Path, language: str
) -> None:
    with looking(browser, language, viewport={"width": 375, "height": 800}) as page:
        sign_in(page, console, "operator")
        for name, path in PAGES.items():
            page.goto(console.url + path)
            width = page.evaluate("document.documentElement.scrollWidth")
            page.screenshot(path=screenshots / f"{name}-{language}-phone.png", full_page=True)
            assert width == 375, name
            assert violations(page, axe) == []


def test_without_javascript_by_keyboard_an_operator_switches(
    browser: Browser, console: Console
) -> None:
    with looking(browser, java_script_enabled=False) as page:
        sign_in(page, console, "operator")
        page.keyboard.press("Tab")
        for _ in range(3):
            page.keyboard.press("Tab")
        expect(page.get_by_role("link", name="Plugins", exact=True)).to_be_focused()
        page.keyboard.press("Enter")
        page.wait_for_url(f"{console.url}/plugins")
        for was, now in (("off", "on"), ("on", "off")):
            button = page.get_by_role("button", name=f"Switch {was}: fallback")
            button.focus()
            page.keyboard.press("Enter")
            changed = page.get_by_role("button", name=f"Switch {now}: fallback")
            expect(changed).to_be_visible(timeout=30_000)


def test_an_operator_switches_the_last_resort_and_a_viewer_sees_it(
    browser: Browser, console: Console
) -> None:
    with looking(browser, "ko", java_script_enabled=False) as operators:
        sign_in(operators, console, "operator")
        for button, said in (("켜기", "켜져"), ("끄기", "꺼져")):
            switch = operators.get_by_role("button", name=re.compile(f"^{button}: 최후 수단"))
            switch.focus()
            operators.keyboard.press("Enter")
            expect(switch).to_have_count(0)
            with looking(browser, "ko", java_script_enabled=False) as viewers:
                sign_in(viewers, console, "viewer")
                expect(viewers.get_by_text(f"최후 수단이 {said} 있습니다")).to_be_visible()
                expect(viewers.get_by_role("button", name=re.compile("최후 수단"))).to_have_count(0)
                expect(viewers.get_by_role("row", name=re.compile("^large 열림"))).to_be_visible()


def test_another_sites_form_switches_nothing(browser: Browser, console: Console) -> None:
    with looking(browser) as page:
        sign_in(page, console, "operator")
        form = {"panel": "fallback", "key": "params/fallback_to_openai", "on": "yes"}
        answer = page.request.post(
            f"{console.url}/toggle", form=form, headers={"origin": "https://elsewhere.example"}
        )
        assert answer.status == 403
        page.goto(f"{console.url}/panels/fallback")
        expect(
            page.get_by_role("button", name=re.compile("^Switch on: Last resort"))
        ).to_be_visible()


def test_from_a_number_two_keys_lead_to_the_sessions_and_one_more_to_the_story(
    browser: Browser, console: Console
) -> None:
    with looking(browser, java_script_enabled=False) as page:
        sign_in(page, console, "viewer")
        for name in ("Routing success", "Cost per success", "Token usage", "Tool call ratio"):
            page.goto(console.url)
            for link in (
                page.get_by_role("link", name=name, exact=True),
                page.get_by_role("row").filter(has_text="success").get_by_role("link").first,
                page.get_by_role("link", name=re.compile(r"^20\d\d-\d\d-\d\d ")).first,
            ):
                link.focus()
                before = page.url
                page.keyboard.press("Enter")
                page.wait_for_url(lambda url, before=before: url != before)
            expect(page.locator("h1")).to_have_text("A turn")


def test_an_open_page_shows_new_turns_and_keeps_the_focus(
    browser: Browser, console: Console
) -> None:
    with looking(browser) as page:
        sign_in(page, console, "viewer")
        page.locator("#live td a").first.focus()
        held = page.evaluate("document.activeElement.id")
        turn = chat(console.url.removesuffix("/console"), console.keys["admin"], "New")
        expect(page.locator(f"[id='turn-{turn}']")).to_be_visible(timeout=30_000)
        assert page.evaluate("document.activeElement.id") == held
        page.get_by_role("link", name="Stop updating").click()
        expect(page.locator("#live")).not_to_have_attribute("hx-get", "/console/live")


def test_a_viewer_is_shown_no_switch_and_nobody_the_problems_text(
    browser: Browser, console: Console
) -> None:
    with looking(browser) as page:
        sign_in(page, console, "viewer")
        page.goto(f"{console.url}/plugins")
        expect(page.locator("main button")).to_have_count(0)
        expect(page.locator("li.bad")).to_have_text(re.compile(r"^\s*openai \(configure\)\s*$"))


def test_a_wrong_key_is_told_so_and_signing_out_ends_it(browser: Browser, console: Console) -> None:
    with looking(browser) as page:
        page.goto(console.url)
        page.get_by_label("API key").fill("coe_wrong")
        page.keyboard.press("Enter")
        expect(page.get_by_role("alert")).to_contain_text("not good")
        sign_in(page, console, "viewer")
        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_label("API key")).to_be_visible()
        page.goto(f"{console.url}/turns")
        expect(page.get_by_label("API key")).to_be_visible()


def test_what_was_said_is_text_and_the_policy_would_stop_a_script(
    browser: Browser, console: Console
) -> None:
    context = browser.new_context()
    page = context.new_page()
    told: list[str] = []
    page.on("console", lambda message: told.append(message.text))
    sign_in(page, console, "admin")
    page.goto(f"{console.url}/turns")
    expect(page.locator("td a").first).to_be_visible()
    page.goto(f"{console.url}/turns/{console.bold}")
    expect(page.get_by_text("<b>bold</b>", exact=True)).to_be_visible()
    assert not any("Content Security Policy" in text for text in told)
    script = "Object.assign(document.createElement('script'), {text: '1'})"
    page.evaluate(f"document.body.append({script})")
    assert "Content Security Policy" in told[-1]
    assert page.evaluate("document.cookie") == ""
    context.close()
