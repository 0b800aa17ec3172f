"""The reader notices when a page is wrong."""

from pathlib import Path

import pytest

from .page import Reader, fits

RIGHT = {
    "a command": "```console\n$ echo one; echo two\none\n...\n```",
    "a command on two lines": "```console\n$ echo 'one\ntwo'\none\ntwo\n```",
    "a program": "```python\nprint(1)\n```\n\n```text\n1\n```",
    "settings": "```toml\n[groups.research]\nrpm = 60\n```",
    "a file": '```python title="one.py"\nprint(1)\n```\n\n```console\n$ python one.py\n1\n```',
}
WRONG = {
    "a command prints another thing": "```console\n$ echo one\ntwo\n```",
    "a command fails": "```console\n$ false\n```",
    "a program prints another thing": "```python\nprint(1)\n```\n\n```text\n2\n```",
    "a program fails": "```python\nraise SystemExit(1)\n```",
    "settings have an unknown key": "```toml\n[groups.research]\nrpn = 60\n```",
    "a fence is misspelt": "```pyton\nprint(1)\n```",
}


@pytest.mark.parametrize("text", RIGHT.values(), ids=RIGHT)
def test_follows_a_page(text: str, tmp_path: Path, reader: Reader) -> None:
    (tmp_path / "page.md").write_text(text, encoding="utf-8")
    reader.follow(tmp_path / "page.md")


@pytest.mark.parametrize("text", WRONG.values(), ids=WRONG)
def test_stops_where_a_page_is_wrong(text: str, tmp_path: Path, reader: Reader) -> None:
    (tmp_path / "page.md").write_text(text, encoding="utf-8")
    with pytest.raises(AssertionError, match="page.md:"):
        reader.follow(tmp_path / "page.md")


def test_dots_stand_for_anything() -> None:
    assert fits("a ... c", "a b\nb c")
    assert fits("a   b", "a b\n")
    assert not fits("a ... c", "a b d")
