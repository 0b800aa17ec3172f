"""Every page does what it says."""

import re
import shutil
import sys
from pathlib import Path
from typing import cast
from urllib.parse import unquote

import pytest
from coe_records.monitor import RecordsMonitor, rules
from markdown_it import MarkdownIt

from .conftest import ROOT
from .page import Command, Reader, commands, fences

WRITTEN = [ROOT / "README.md", ROOT / "README.ko.md", ROOT / "CONTRIBUTING.md"]
WRITTEN += sorted([*(ROOT / "deploy").glob("*.md"), *(ROOT / "docs").rglob("*.md")])
KOREAN = [page for page in WRITTEN if page.name.endswith(".ko.md")]
TRANSLATED = [page for page in KOREAN if page.parent != ROOT]
"""Of the same code as the English page beside it, which is followed: test_korean.py."""
TUTORIALS = sorted({*(ROOT / "docs" / "tutorials").glob("*.md")} - {*TRANSLATED})
"""Followed in an environment of their own: test_tutorials.py."""
GENERATED = sorted((ROOT / "docs" / "reference").glob("*.md"))
TOOLS = ("jq", "sqlite3")
"""What readers of some pages have installed besides."""
FOLLOWED = [page for page in WRITTEN if page not in [*TUTORIALS, *GENERATED, *TRANSLATED]]


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", FOLLOWED, ids=name)
def test_page_can_be_followed(page: Path, reader: Reader) -> None:
    for missing in needed(page) - set(filter(shutil.which, TOOLS)):
        pytest.skip(f"{missing} is not installed")
    if page.stem.startswith("README") and page.parent == ROOT:
        # What its first command leads to; a fresh clone, in which it is run, is for CI to try.
        (reader.folder / ".venv").symlink_to(sys.prefix)
        reader.type(
            Command("coe serve &", "CoE serves on http://127.0.0.1:8420\nConsole: ...\n...", 0),
            page.name,
        )
    reader.follow(page)


@pytest.mark.parametrize("page", WRITTEN, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in links(page):
        path, _, anchor = target.partition("#")
        aim = (page.parent / path).resolve() if path else page
        assert aim.exists(), target
        assert not anchor or anchor in anchors(aim), target


def test_every_page_is_linked_from_the_index() -> None:
    index = ROOT / "docs" / "index.md"
    linked = aims(index)
    adrs = ROOT / "docs" / "adr"
    linked |= aims(adrs / "README.md") | aims(index.with_name("index.ko.md"))
    assert set((ROOT / "docs").rglob("*.md")) <= linked


def test_every_alert_about_the_records_has_a_playbook() -> None:
    there = {path.stem for path in (ROOT / "docs" / "playbooks").glob("*.md")}
    assert {rule.playbook for rule in rules(cast("RecordsMonitor", None))} <= there


@pytest.mark.parametrize("page", WRITTEN, ids=name)
def test_names_no_place_of_one_machine(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert not re.search(r"/(home|Users)/\w|/root/|file:///", text)


def needed(page: Path) -> set[str]:
    typed = [c.text for fence in fences(page) for c in commands(fence)]
    return {tool for tool in TOOLS for text in typed if re.search(rf"\b{tool} ", text)}


def links(page: Path) -> list[str]:
    found = []
    for token in MarkdownIt().enable("table").parse(page.read_text(encoding="utf-8")):
        for child in token.children or []:
            href = str(child.attrGet("href") or "")
            if href and not re.match(r"\w+:", href):
                found.append(unquote(href))
    return found


def aims(page: Path) -> set[Path]:
    """The files that a page links to."""
    return {(page.parent / link.partition("#")[0]).resolve() for link in links(page)}


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"(?m)^#+ (.+)$", page.read_text(encoding="utf-8"))
    return {
        re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-").strip("-")
        for heading in headings
    }
