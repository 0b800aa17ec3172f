"""The command line, on a deployment that is installed beside the plugin."""

from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from attrs import evolve
from coe_regress.case import Case, Recording
from coe_regress.folder import Folder

from coe_core.cli.program import run
from coe_core.codec import decode

from .conftest import MENDED, SETTINGS, called
from .test_collection import PLUGIN

Coe = Callable[..., tuple[int, str, str]]


@pytest.fixture
def coe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Coe:
    """Run `coe regress` in a folder with settings; returns the status, and what it printed."""
    metadata = tmp_path / "site" / "scripted-1.dist-info"
    metadata.mkdir(parents=True)
    (metadata.parent / "scripted_plugin.py").write_text(PLUGIN)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: scripted\nVersion: 1\n")
    entry_point = "[coe.plugins]\nscripted = scripted_plugin:ScriptedPlugin\n"
    (metadata / "entry_points.txt").write_text(entry_point)
    monkeypatch.syspath_prepend(metadata.parent)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "coe.toml").write_text(SETTINGS, encoding="utf-8")

    def typed(*arguments: str) -> tuple[int, str, str]:
        status = run(["regress", *arguments])
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return typed


def test_a_case_goes_through_its_life(
    coe: Coe, folder: Folder, failed: Case, tmp_path: Path
) -> None:
    folder.write(evolve(failed, state="candidate"))
    status, out, _ = coe("list")
    assert (status, out.splitlines()[1].split()) == (
        0,
        ["target-error-1", "candidate", "1", "yes", "an", "answer", "Hello"],
    )
    assert coe("show", "target-error-1")[1].startswith("format: '1'\nid: target-error-1\n")
    status, _, err = coe("run")
    assert status == 0
    assert err.startswith("1 case, 0 break, ")
    status, _, err = coe("activate", "target-error-1")
    assert status == 1
    assert "target-error-1 does not pass: it ended as failed" in err
    assert coe("review", "target-error-1", "--goes-to", "main")[0] == 0
    (reviewed,) = folder.cases()
    assert (reviewed.state, reviewed.expect.goes_to) == ("reviewed", "main")
    assert coe("run")[0] == 0
    (tmp_path / "coe.toml").write_text(MENDED, encoding="utf-8")
    status, out, _ = coe("run", "--junit", "out/junit.xml")
    assert status == 1
    assert "BREAKS" in out
    (suite,) = ET.parse("out/junit.xml").iter("testsuite")
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == ("1", "1", "0")
    assert coe("activate", "--mended")[1] == "target-error-1 is active.\n"
    status, out, err = coe("run", "--json")
    assert status == 0
    assert decode(out) == [{"case": "target-error-1", "verdict": "passed", "text": ""}]
    assert coe("retire", "target")[1] == "target-error-1 is retired.\n"
    (retired,) = folder.cases()
    assert [step.state for step in retired.history] == ["reviewed", "active", "retired"]
    assert all(step.by for step in retired.history)


def test_what_does_not_reproduce_is_not_reviewed(coe: Coe, folder: Folder, failed: Case) -> None:
    folder.write(evolve(failed, state="candidate", reproduces=False))
    status, _, err = coe("review", "target-error-1")
    assert status == 1
    assert "does not fail on replay" in err


def test_init_ci_writes_the_workflow_once(coe: Coe) -> None:
    assert coe("init-ci") == (0, "Wrote .github/workflows/regress.yml.\n", "")
    text = Path(".github/workflows/regress.yml").read_text(encoding="utf-8")
    assert "coe regress run --config coe.toml --junit regress.xml" in text
    status, _, err = coe("init-ci")
    assert status == 1
    assert "is there already" in err


@pytest.mark.parametrize(
    ("arguments", "says", "ends_with"),
    [
        (["capture"], "name a TURN, or say --since", 2),
        (["capture", "--since", "yesterday"], "say 90m, 24h, 7d", 2),
        (["capture", "0190"], "did not fail", 1),
        (["activate"], "name cases, or say --mended", 2),
        (["show", "x"], "there is no case 'x'", 1),
    ],
)
def test_what_is_wrong_is_told(coe: Coe, arguments: list[str], says: str, ends_with: int) -> None:
    status, _, err = coe(*arguments)
    assert status == ends_with
    assert says in err


def test_live_rates_are_kept_and_compared(coe: Coe, folder: Folder, failed: Case) -> None:
    """The scripted model answers, whatever the recording says."""
    folder.write(failed)
    folder.write(called(evolve(failed, expect=evolve(failed.expect, goes_to="spare")), 2))
    status, out, _ = coe("run", "--live", "--repeats", "5", "--save", "before.json")
    assert status == 0
    assert [line.split() for line in out.splitlines()[1:]] == [
        ["target-error-1", "5/5"],
        ["target-error-1-2", "0/5"],
    ]
    Path("coe.toml").write_text(SETTINGS.replace('"main"', '"spare"', 1), encoding="utf-8")
    status, out, err = coe("run", "--live", "--repeats", "5", "--against", "before.json")
    assert [line.split() for line in out.splitlines()[1:]] == [
        ["target-error-1", "5/5", "5/5", "1.000", "may", "be", "chance"],
        ["target-error-1-2", "5/5", "0/5", "0.016", "real"],
    ]
    assert "Fisher's exact test" in err


def test_record_drops_what_nothing_needs(coe: Coe, folder: Folder, failed: Case) -> None:
    folder.write(evolve(failed, recording=Recording()))
    folder.vectors.write_text('{"model": "a:b", "sha256": "0", "vector": ""}\n', encoding="utf-8")
    assert coe("record") == (0, "0 vectors added, 1 dropped.\n", "")
    assert folder.vectors.read_bytes() == b""
