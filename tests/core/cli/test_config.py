"""`coe config`: what is in force, where it was set, and every mistake with its line."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from coe_core.codec import decode

Coe = Callable[..., Any]

BROKEN = """\
[coe]
tool_rounds = "many"
data_dri = "x"
[coo]
[models.small]
provider = 3
[groups.team]
rpm = 1.5
"""

BROKEN_PLUGINS = """\
[routing]
default = "parot"
fallbacks = { parrot = ["gone"] }
order = ["nobody"]
[plugins.parrot]
greting = "hi"
token = "in the open"
[plugins.parot]
[models.mine]
provider = "parrot"
pase_s = 1
[models.other]
provider = "parot"
"""


def test_every_leaf_has_its_value_and_origin(
    coe: Coe, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COE_COE__HISTORY_MESSAGES", "20")
    monkeypatch.setenv("COE_GROUPS__TEAM", "{ rpm = 7 }")
    monkeypatch.setenv("SECRET_OF_THE_PARROT", "polly")
    settings = """\
        [coe]
        tool_rounds = 3
        [routing]
        default = "parrot"
        fallbacks = { parrot = ["mine"] }
        [models.mine]
        provider = "parrot"
        pace_s = 0.5
        [plugins.parrot]
        token = "env:SECRET_OF_THE_PARROT"
        """
    shown = coe("config", "show", "--json", settings=settings)
    leaves = decode(shown.out)
    expected = {
        "coe.tool_rounds": (3, "coe.toml:2"),
        "coe.history_messages": (20, "env:COE_COE__HISTORY_MESSAGES"),
        "coe.turn_timeout_s": (1200.0, "default"),
        "routing.fallbacks.parrot": (["mine"], "coe.toml:5"),
        "routing.order": ([], "default"),
        "models.mine.pace_s": (0.5, "coe.toml:8"),
        "models.mine.capability": ("chat", "default"),
        "groups.team.rpm": (7, "env:COE_GROUPS__TEAM"),
        "plugins.parrot.token": ("env:SECRET_OF_THE_PARROT", "coe.toml:10"),
        "plugins.parrot.greeting": ("hello", "default"),
    }
    assert {path: (leaves[path]["value"], leaves[path]["origin"]) for path in expected} == expected
    assert "polly" not in shown.out
    table = coe("config", "show", "--origin").out
    assert all(path in table and origin in table for path, (_, origin) in expected.items())


def test_what_an_operator_switched_is_marked(coe: Coe) -> None:
    coe("plugins", "disable", "parrot", settings="")
    leaves = decode(coe("config", "show", "--json").out)
    assert leaves["plugins.parrot.enabled"] == {"value": False, "origin": "operator"}


def test_every_mistake_of_the_core_tables_is_named_with_its_line(coe: Coe) -> None:
    checked = coe("config", "validate", settings=BROKEN)
    assert checked.code == 1
    assert checked.err.splitlines() == [
        "coe.toml:4: there is no table [coo]; did you mean 'coe'?",
        "coe.toml:3: [coe] has no key 'data_dri'; did you mean 'data_dir'?",
        "coe.toml:2: [coe] tool_rounds: expected an integer, got a string",
        "coe.toml:6: [models.small] provider: expected a string, got an integer",
        "coe.toml:8: [groups.team] rpm: expected an integer, got a number",
    ]


def test_a_misspelt_table_of_tables_is_named_with_its_line(coe: Coe) -> None:
    checked = coe("config", "validate", settings='\n[modles.small]\nprovider = "parrot"\n')
    assert checked.err == "coe.toml:2: there is no table [modles]; did you mean 'models'?\n"


def test_every_mistake_of_plugins_and_providers_is_named_with_its_line(coe: Coe) -> None:
    checked = coe("config", "validate", settings=BROKEN_PLUGINS)
    assert checked.code == 1
    for mistake in (
        "coe.toml:6: [plugins.parrot] has no key 'greting'; did you mean 'greeting'?",
        "coe.toml:7: [plugins.parrot] token: a secret is written as env:NAME or file:PATH",
        "coe.toml:8: the plugin 'parot' is not installed; did you mean 'parrot'?",
        "coe.toml:4",
        "coe.toml:2",
        "coe.toml:3",
    ):
        assert mistake in checked.err


def test_mistakes_of_the_core_and_of_plugins_are_named_at_once(coe: Coe) -> None:
    settings = '[coe]\ndata_dri = "x"\n[plugins.parrot]\ngreting = "hi"\n[plugins.parot]\n'
    checked = coe("config", "validate", settings=settings)
    assert checked.err.splitlines() == [
        "coe.toml:2: [coe] has no key 'data_dri'; did you mean 'data_dir'?",
        "coe.toml:4: [plugins.parrot] has no key 'greting'; did you mean 'greeting'?",
        "coe.toml:5: the plugin 'parot' is not installed; did you mean 'parrot'?",
    ]


@pytest.mark.parametrize(
    "settings",
    [
        '[models.auto]\nprovider = "parrot"\n',
        "[groups.team]\nbudget_usd_month = -1\n",
        "[groups.team]\nrpm = 0\n",
        "[groups.team]\ntpm = -5\n",
        '[models.mine]\nprovider = "parrot"\nprice = { input = 1, output = -1 }\n',
    ],
)
def test_what_no_deployment_can_mean_is_refused(coe: Coe, settings: str) -> None:
    checked = coe("config", "validate", settings='[routing]\ndefault = "parrot"\n' + settings)
    assert checked.code == 1
    assert checked.err.startswith("coe.toml:")
    assert len(checked.err.splitlines()) == 1


def test_a_mark_of_byte_order_is_no_part_of_the_settings(coe: Coe) -> None:
    settings = '\ufeff[routing]\ndefault = "parrot"\n'
    assert coe("config", "validate", settings=settings).code == 0


def test_a_providers_own_keys_are_checked(coe: Coe) -> None:
    settings = BROKEN_PLUGINS.replace("greting", "greeting").replace("in the open", "env:X")
    checked = coe("config", "validate", settings=settings)
    assert "coe.toml:11: [models.mine] has no key 'pase_s'; did you mean 'pace_s'?" in checked.err
    assert "coe.toml:13: [models.other] there is no provider 'parot'; did you mean 'parrot'?" in (
        checked.err
    )


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"[coe\n", "coe.toml:1: this is not valid TOML"),
        ("[coe]\n[groups.한국]\n".encode(), "is written in quotes"),
        ("[groups.team한국]\n".encode(), "is written in quotes"),
        (b"\xff\xfe", "coe.toml: the file is not UTF-8 text"),
    ],
)
def test_a_file_that_is_no_settings_is_one_line(
    coe: Coe, folder: Path, content: bytes, text: str
) -> None:
    (folder / "coe.toml").write_bytes(content)
    for arguments, code in ((["config", "validate"], 1), (["config", "show"], 2), (["chat"], 2)):
        printed = coe(*arguments)
        assert printed.code == code
        assert text in printed.err
        assert len(printed.err.splitlines()) == 1


def test_a_file_that_is_named_must_be_there(coe: Coe) -> None:
    printed = coe("config", "validate", "--config", "gone.toml")
    assert printed.code == 1
    assert "`coe init` writes one" in printed.err


def test_a_good_file_is_said_to_be_good(coe: Coe) -> None:
    printed = coe("config", "validate", settings='[routing]\ndefault = "parrot"\n')
    assert (printed.code, printed.out) == (0, "coe.toml: no problems found.\n")


def test_a_plugin_that_is_required_and_switched_off_is_a_mistake(coe: Coe) -> None:
    settings = """\
[coe]
required_plugins = ["parrot"]
[plugins.parrot]
enabled = false
"""
    checked = coe("config", "validate", settings=settings)
    assert checked.code == 1
    assert checked.err.splitlines()[-1] == (
        "coe.toml:4: the plugin 'parrot' is switched off, and required by [coe] required_plugins "
        "(coe.toml:2); switch it on, or require it no more"
    )
