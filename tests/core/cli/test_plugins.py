"""`coe plugins`: what is there, what is wrong, on and off."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from coe_core.codec import decode

Coe = Callable[..., Any]


def test_the_list_says_what_each_plugin_contributes(coe: Coe) -> None:
    lines = coe("plugins").out.splitlines()
    (parrot,) = (line for line in lines if line.startswith("parrot"))
    assert "1.2.3" in parrot
    assert "model_providers: parrot; checks: parrot-health; cli_commands: greet" in parrot


def test_as_json_it_is_whole(coe: Coe) -> None:
    listed = decode(coe("plugins", "--json", settings="[plugins.parrot]\nbad = 1\n").out)
    (parrot,) = (plugin for plugin in listed["plugins"] if plugin["name"] == "parrot")
    assert parrot["version"] == "1.2.3"
    (problem,) = (p for p in listed["problems"] if p["plugin"] == "parrot")
    assert problem["stage"] == "configure"
    assert "coe.toml:2" in problem["text"]
    assert problem["mend"]


def test_a_guess_ends_with_one_mark(coe: Coe) -> None:
    listed = coe("plugins", settings='[plugins.parrot]\ngreting = "hi"\n')
    assert "has no key 'greting'; did you mean 'greeting'? Mend the settings." in listed.out


def test_check_ends_with_1_when_there_is_a_problem(coe: Coe, site: Path) -> None:
    (site / "coe_test_parrot.py").write_text("import absent_module\n", encoding="utf-8")
    listed = coe("plugins")
    assert listed.code == 0
    assert "parrot, import: the module 'absent_module' is missing" in listed.out
    assert coe("plugins", "--check").code == 1


def test_a_plugin_is_switched_off_and_on(coe: Coe) -> None:
    assert coe("plugins", "disable", "parrot").out == "Switched off: parrot.\n"
    assert coe("greet").code == 2
    assert "no" in coe("plugins").out.partition("\nparrot")[2].splitlines()[0]
    assert coe("plugins", "enable", "parrot").out == "Switched on: parrot.\n"
    assert coe("greet").out == "hello\n"


def test_one_component_is_switched_off(coe: Coe) -> None:
    coe("plugins", "disable", "parrot", "--component", "cli_commands.greet")
    assert coe("greet").code == 2
    assert "switched off: cli_commands.greet" in coe("plugins").out
    coe("plugins", "enable", "parrot", "--component", "cli_commands.greet")
    assert coe("greet").out == "hello\n"


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["parot"], 1, "no plugin 'parot' is installed; did you mean 'parrot'?"),
        (["parrot", "--component", "greet"], 2, "'greet' is no component: write KIND.NAME"),
        (["parrot", "--component", "routes.x"], 2, "did you mean 'routers'?"),
        (["parrot", "--component", "checks.health"], 1, "did you mean 'parrot-health'?"),
    ],
)
def test_what_is_not_there_is_not_switched(
    coe: Coe, folder: Path, arguments: list[str], code: int, text: str
) -> None:
    printed = coe("plugins", "disable", *arguments)
    assert printed.code == code
    assert text in printed.err
    assert list(folder.iterdir()) == []


def test_a_new_plugin_is_written(coe: Coe, folder: Path) -> None:
    assert coe("plugins", "new", "weather", "--kind", "tool").out == "Wrote coe-weather.\n"
    assert (folder / "coe-weather" / "pyproject.toml").exists()
    assert "did you mean 'tool'" in coe("plugins", "new", "rain", "--kind", "tol").err
