"""`coe init`: a file that is true, loads, and can be changed without thinking."""

import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from coe_core.settings import Settings, load

Coe = Callable[..., Any]

LANGUAGES = ["en", "ko"]


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_file_changes_nothing(coe: Coe, folder: Path, language: str) -> None:
    before = coe("config", "validate")
    assert coe("init", "--lang", language).out == "Wrote coe.toml.\n"
    assert load(folder / "coe.toml", {}) == Settings()
    after = coe("config", "validate")
    assert (after.code, after.err) == (before.code, before.err)


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_key_in_it_may_be_switched_on(coe: Coe, folder: Path, language: str) -> None:
    coe("init", "--lang", language)
    text = (folder / "coe.toml").read_text(encoding="utf-8")
    # A line "#key =" has no default to show; what is text begins with "# ".
    switched_on = re.sub(r"^#(?=\S)(?!.*=$)", "", text, flags=re.MULTILINE)
    (folder / "coe.toml").write_text(switched_on, encoding="utf-8")
    tables = tomllib.loads(switched_on)
    assert tables["coe"]["history_messages"] == Settings().coe.history_messages
    assert tables["plugins"]["parrot"] == {"enabled": True, "greeting": "hello", "well": True}
    # The models that it names are those of the standard plugins, which may not be here.
    names_models = re.compile(r"there is no provider '\w+'$|names '\w+', no model$")
    problems = coe("config", "validate").err.splitlines()
    assert [problem for problem in problems if not names_models.search(problem)] == []


def test_every_key_has_its_meaning_above_it(coe: Coe, folder: Path) -> None:
    coe("init")
    text = (folder / "coe.toml").read_text(encoding="utf-8")
    assert '# What `coe greet` says.\n#greeting = "hello"' in text
    assert "# Requests per minute.\n#rpm = 60" in text


def test_korean_comments_are_korean(coe: Coe, folder: Path) -> None:
    coe("init", "--lang", "ko")
    assert "CoE 설정 파일입니다" in (folder / "coe.toml").read_text(encoding="utf-8")


def test_a_file_that_is_there_is_not_overwritten(coe: Coe, folder: Path) -> None:
    (folder / "mine.toml").write_text("[coe]\n", encoding="utf-8")
    refused = coe("init", "--config", "mine.toml")
    assert (refused.code, refused.err) == (
        1,
        "error: mine.toml is there already; --force overwrites it\n",
    )
    assert (folder / "mine.toml").read_text(encoding="utf-8") == "[coe]\n"
    assert coe("init", "--config", "mine.toml", "--force").code == 0


def test_a_folder_that_is_not_there_is_one_line(coe: Coe) -> None:
    refused = coe("init", "--config", "nowhere/coe.toml")
    assert refused.code == 2
    assert refused.err == "error: nowhere/coe.toml cannot be written: No such file or directory\n"
