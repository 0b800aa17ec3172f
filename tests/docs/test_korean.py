"""A Korean page says what the English page beside it does."""

import re
from collections import Counter
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from .page import fences
from .test_pages import KOREAN, TRANSLATED, aims, name

COMMENT = re.compile(r"(?:^|\s)# .*")
COMMENTED = frozenset({"console", "py", "python", "sh", "toml"})


def english(page: Path) -> Path:
    return page.with_suffix("").with_suffix(".md")


def korean(page: Path) -> Path:
    return page.with_suffix(".ko.md")


def code(page: Path) -> list[tuple[str, str | None, str]]:
    """A page's fences without the comments in them, which are in its language."""
    found = []
    for fence in fences(page):
        text = fence.text
        if fence.language in COMMENTED:
            text = "\n".join(COMMENT.sub("", line).rstrip() for line in text.splitlines())
        found.append((fence.language, fence.title, text))
    return found


def headings(page: Path) -> Counter[str]:
    tokens = MarkdownIt().parse(page.read_text(encoding="utf-8"))
    return Counter(token.tag for token in tokens if token.type == "heading_open")


@pytest.mark.parametrize("page", TRANSLATED, ids=name)
def test_has_the_code_of_the_english_page(page: Path) -> None:
    assert code(page) == code(english(page))


@pytest.mark.parametrize("page", TRANSLATED, ids=name)
def test_has_the_headings_of_the_english_page(page: Path) -> None:
    assert headings(page) == headings(english(page))


@pytest.mark.parametrize("page", KOREAN, ids=name)
def test_leads_to_the_english_page_and_back(page: Path) -> None:
    assert english(page) in aims(page)
    assert page in aims(english(page))


@pytest.mark.parametrize("page", KOREAN, ids=name)
def test_stays_in_korean_where_it_can(page: Path) -> None:
    others = aims(page) - {english(page)}
    assert [name(other) for other in others if korean(other).exists()] == []


@pytest.mark.parametrize("page", KOREAN, ids=name)
def test_shows_no_asterisk(page: Path) -> None:
    """Where a particle follows, `**` after a backtick or a bracket does not end what is bold."""
    for token in MarkdownIt().enable("table").parse(page.read_text(encoding="utf-8")):
        for child in token.children or []:
            assert child.type != "text" or "**" not in child.content, token.content
