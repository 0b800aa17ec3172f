"""The program as a whole: common options, plugins' commands, errors, letters."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from loguru import logger

from coe_core.cli import Frame, table
from coe_core.cli.output import width

Coe = Callable[..., Any]

COE = [sys.executable, "-c", "from coe_core.cli import main; main()"]


def test_help_lists_the_cores_and_the_plugins_commands(coe: Coe) -> None:
    printed = coe("--help")
    assert printed.code == 0
    for command in ("chat", "config", "doctor", "init", "plugins", "greet", "cage"):
        assert f"  {command} " in printed.out


@pytest.mark.parametrize("arguments", [[], ["config"], ["plugins", "new", "x"]])
def test_half_a_command_is_told_how_it_goes_on(coe: Coe, arguments: list[str]) -> None:
    printed = coe(*arguments)
    assert printed.code == 2
    assert "--help" in printed.err
    assert "ValueError" not in printed.err
    assert not (printed.err.startswith("error") and len(printed.err.splitlines()) > 1)


def test_help_makes_no_file(coe: Coe, folder: Path) -> None:
    coe("--help")
    coe("plugins")
    coe("config", "show")
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    "arguments",
    [
        ["--config", "other.toml", "greet"],
        ["greet", "--config", "other.toml"],
        ["greet", "--config=other.toml"],
        ["greet", "--config", "gone.toml", "--config", "other.toml"],
    ],
)
def test_every_command_takes_the_settings_file(
    coe: Coe, folder: Path, arguments: list[str]
) -> None:
    (folder / "other.toml").write_text('[plugins.parrot]\ngreeting = "안녕"\n', encoding="utf-8")
    assert coe(*arguments).out == "안녕\n"
    assert coe(*arguments, "--loud").out == "안녕\n".upper()


def test_without_a_settings_file_the_one_beside_is_taken(coe: Coe) -> None:
    assert coe("greet").out == "hello\n"
    assert coe("greet", settings='[plugins.parrot]\ngreeting = "here"\n').out == "here\n"


@pytest.mark.parametrize("command", [["greet"], ["cage", "clean"], ["config", "show"]])
def test_every_command_shows_the_common_options(coe: Coe, command: list[str]) -> None:
    printed = coe(*command, "--help").out
    assert "--config FILE" in printed
    assert "--data DIR" in printed


def test_the_data_folder_may_be_named_on_the_command_line(coe: Coe, folder: Path) -> None:
    assert coe("plugins", "disable", "parrot", "--data", "elsewhere").code == 0
    assert [path.name for path in folder.iterdir()] == ["elsewhere"]


def test_an_option_without_its_value_is_a_usage_error(coe: Coe) -> None:
    printed = coe("greet", "--config")
    assert printed.code == 2
    assert printed.err.startswith("error: Option '--config' requires an argument.")
    assert len(printed.err.splitlines()) == 1


def test_an_unknown_command_is_one_line_with_the_nearest(coe: Coe) -> None:
    printed = coe("plugin")
    assert printed.code == 2
    assert printed.err.startswith("error: no command 'plugin'; did you mean 'plugins'?")
    assert len(printed.err.splitlines()) == 1


def test_a_command_that_a_problem_hides_names_the_problem(coe: Coe) -> None:
    printed = coe("greet", settings='[plugins.parrot]\ngreting = "hi"\n')
    assert printed.code == 2
    assert "no key 'greting'; did you mean 'greeting'?" in printed.err
    assert len(printed.err.splitlines()) == 1


def test_broken_settings_leave_help_doctor_and_config(coe: Coe) -> None:
    printed = coe("--help", settings="[coe\n")
    assert printed.code == 0
    assert "commands are missing" in printed.out
    assert "coe.toml:1" in printed.out
    assert coe("doctor").code == 1
    assert coe("config", "validate").code == 1
    greet = coe("greet")
    assert greet.code == 2
    assert greet.err.startswith("error: coe.toml:1: this is not valid TOML")


def test_help_says_which_plugins_are_off(coe: Coe) -> None:
    printed = coe("--help", settings="[plugins.parrot]\nenabled = false\n")
    assert "greet" not in printed.out
    assert "switched off: parrot" in " ".join(printed.out.split())


def test_an_error_nobody_thought_of_is_one_line_unless_debugged(
    coe: Coe, site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = site / "coe_test_parrot.py"
    text = module.read_text(encoding="utf-8")
    module.write_text(text.replace("click.echo(own.upper()", "1 / 0; click.echo(own.upper()"))
    printed = coe("greet")
    assert printed.code == 1
    assert printed.err.startswith("error: ZeroDivisionError: division by zero; --debug")
    assert "Traceback" in coe("greet", "--debug").err


@pytest.mark.skipif(sys.platform != "linux", reason="not even root can write into /proc")
def test_a_place_that_cannot_be_written_is_named(coe: Coe) -> None:
    printed = coe("plugins", "new", "polly", "--kind", "router", "--to", "/proc")
    assert (printed.code, printed.err) == (1, "error: /proc/coe-polly: No such file or directory\n")


@pytest.mark.parametrize("locale", ["C", "POSIX", "ko_KR.EUC-KR"])
def test_korean_is_read_and_printed_whatever_the_locale(folder: Path, locale: str) -> None:
    (folder / "coe.toml").write_text(
        '[routing]\ndefault = "parrot"\n[plugins.parrot]\ngreeting = "안녕"\n', encoding="utf-8"
    )
    path = os.pathsep.join(sys.path)
    environment = {"LC_ALL": locale, "PYTHONIOENCODING": "ascii", "PYTHONPATH": path}

    def printed(command: str, piped: str = "") -> str:
        ended = subprocess.run(
            [*COE, command], env=environment, input=piped.encode(), capture_output=True, check=True
        )
        return ended.stdout.decode("utf-8")

    assert printed("greet") == "안녕\n"
    assert printed("chat", "한글") == "1 한글\n"


def test_a_reader_that_has_gone_is_no_traceback(folder: Path) -> None:
    command = " ".join(["set -o pipefail;", f"'{COE[0]}' -c '{COE[2]}' config show | head -c 1"])
    printed = subprocess.run(["bash", "-c", command], capture_output=True, check=False)
    assert printed.stderr == b""


def test_columns_stand_straight_in_korean() -> None:
    lines = table(("NAME", "N"), [("한글 이름", "1"), ("ascii", "2"), ("e\u0301", "3")]).split("\n")
    assert len({width(line) for line in lines}) == 1


@given(st.text(alphabet="가각ㄱa1 ", max_size=9))
def test_a_text_is_as_wide_decomposed(text: str) -> None:
    import unicodedata

    assert width(unicodedata.normalize("NFD", text)) == width(text)


def test_what_follows_a_lone_double_dash_is_no_option() -> None:
    assert Frame.of(["x", "--", "--config", "y"]).config is None


def test_a_line_of_the_log_is_one_line(coe: Coe, capsys: pytest.CaptureFixture[str]) -> None:
    coe("plugins")
    logger.bind(pid=7).warning("a worker died")
    assert capsys.readouterr().err.endswith(": a worker died {'pid': 7}\n")
