"""The pytest plugin, in a pytest of its own."""

from xml.etree import ElementTree as ET

import pytest
from attrs import evolve
from coe_regress.case import Case, Recording
from coe_regress.folder import Folder

from .conftest import MENDED, SETTINGS, called

pytest_plugins = ["pytester"]

PLUGIN = """
from coe_core.hookspec import hookimpl
from coe_core.testing import ScriptedProvider

class ScriptedPlugin:
    @hookimpl
    def coe_model_providers(self, ctx):
        return [ScriptedProvider()]
"""


@pytest.fixture
def folder(pytester: pytest.Pytester) -> Folder:
    """Cases below a `coe.toml`, and a plugin that is installed."""
    installed = pytester.mkdir("site")
    (installed / "scripted_plugin.py").write_text(PLUGIN)
    metadata = installed / "scripted-1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: scripted\nVersion: 1\n")
    entry_point = "[coe.plugins]\nscripted = scripted_plugin:ScriptedPlugin\n"
    (metadata / "entry_points.txt").write_text(entry_point)
    pytester.syspathinsert(installed)
    pytester.makeini("[pytest]\nasyncio_default_fixture_loop_scope = function\n")
    (pytester.path / "coe.toml").write_text(SETTINGS, encoding="utf-8")
    return Folder(pytester.path / "cases")


def test_cases_are_tests_and_a_known_failure_that_passes_fails(
    pytester: pytest.Pytester, folder: Folder, failed: Case
) -> None:
    passing = evolve(failed, recording=Recording(otherwise="Yes."))
    unknown = evolve(failed, recording=Recording())
    for number, case in enumerate(
        (
            failed,
            passing,
            unknown,
            evolve(failed, state="active"),
            evolve(passing, state="active"),
            evolve(failed, state="candidate"),
            evolve(passing, state="candidate"),
            evolve(unknown, state="candidate"),
            evolve(failed, state="retired"),
        )
    ):
        folder.write(called(case, number))
    ended = pytester.runpytest("-rA", "--junitxml=out.xml", "cases")
    ended.assert_outcomes(passed=1, failed=3, xfailed=3, xpassed=1, skipped=1)
    ended.stdout.fnmatch_lines(
        [
            "*target-error-1-2 (target_error): the model 'main' was not asked, or not so often",
            "*target-error-1-3 (target_error): it ended as failed (upstream_cut), not with an*",
        ]
    )
    names = [case.get("name") for case in ET.parse(pytester.path / "out.xml").iter("testcase")]
    assert names == [f"target-error-1-{number}" for number in range(9)]


def test_settings_can_be_named(pytester: pytest.Pytester, folder: Folder, failed: Case) -> None:
    folder.write(evolve(failed, state="active"))
    pytester.runpytest("cases").assert_outcomes(failed=1)
    (pytester.path / "mended.toml").write_text(MENDED, encoding="utf-8")
    pytester.runpytest("cases", "--coe-config", "mended.toml").assert_outcomes(passed=1)


def test_a_file_that_is_no_case_is_an_error(pytester: pytest.Pytester, folder: Folder) -> None:
    folder.path.mkdir()
    (folder.path / "x.case.yaml").write_text("- 1\n", encoding="utf-8")
    ended = pytester.runpytest("cases")
    ended.assert_outcomes(errors=1)
    ended.stdout.fnmatch_lines(["*x.case.yaml*expected an object*"])
