"""`coe routes` as it is typed, and the settings as they are mistyped."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from coe_routing.evaluation import Judged, Labelled, report

from coe_core.cli.program import run
from coe_core.codec import decode

Coe = Callable[..., str]

SETTINGS = """
[plugins.routing]
routes_file = "routes.toml"

[plugins.routing.routes.refunds]
description = "Getting money back"
examples = ["I want a refund for my order", "refund to my card", "주문 환불해 주세요"]
model = "local"

[[plugins.routing.rules]]
name = "korean"
languages = ["ko"]
route = "code"
"""
FILE = """
[code]
examples = ["write a python function", "fix the bug in my script", "파이썬 함수 짜 줘"]
models = ["local", "gone"]
"""
LABELLED = [
    {"text": "please refund my order", "route": "refunds"},
    {"text": "refund it to my credit card", "route": "refunds", "language": "en"},
    {"text": "a python function that sorts", "route": "code"},
    {"text": "파이썬 함수 하나 짜 줘", "route": "code"},
    {"text": "who painted the Night Watch", "route": None},
]


@pytest.fixture
def coe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Coe:
    """Type a command in a folder with settings, routes and a labelled file."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "coe.toml").write_text(SETTINGS, encoding="utf-8")
    (tmp_path / "routes.toml").write_text(FILE, encoding="utf-8")
    lines = "\n".join(json.dumps(line) for line in LABELLED)
    (tmp_path / "requests.jsonl").write_text(lines + "\n\n", encoding="utf-8")

    def typed(*arguments: str, code: int = 0) -> str:
        assert run(arguments) == code
        printed = capsys.readouterr()
        return printed.out or printed.err

    return typed


def test_list_shows_what_is_missing(coe: Coe) -> None:
    (refunds, code) = decode(coe("routes", "list", "--json"))
    assert refunds["targets"] == ["local"] or refunds["missing"] == ["local"]
    assert code["targets"] == ["local", "gone"]
    assert "gone" in code["missing"]
    assert "gone (missing)" in coe("routes", "list")


def test_explain_says_what_every_router_says(coe: Coe) -> None:
    printed = coe("routes", "explain", "코드 좀 봐 줘")
    assert "rules" in printed
    assert "the rule 'korean' holds: languages" in printed
    explanation = decode(coe("routes", "explain", "코드 좀 봐 줘", "--json"))
    assert [step["router"] for step in explanation["steps"]] == [
        "explicit",
        "rules",
        "semantic",
        "quality",
        "health",
    ]


def test_a_file_that_is_wrong_says_where(coe: Coe, tmp_path: Path) -> None:
    file = tmp_path / "requests.jsonl"
    for line, why in (
        ('{"text": "x", "route": "refund"}', "there is no route 'refund'"),
        ('{"txt": "x"}', ":1:"),
        ("[", ":1:"),
        ("", "holds no request"),
    ):
        file.write_text(line, encoding="utf-8")
        assert why in coe("routes", "test", str(file), code=2)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (('route = "code"', 'route = "coed"'), "names the route 'coed', which is none"),
        (("[plugins.routing]\n", "[plugins.routing]\nunsur = 1\n"), "did you mean 'unsure'"),
        (('examples = ["I', 'exampels = ["I'), "did you mean 'examples'"),
        (("languages", "langauges"), "did you mean 'languages'"),
        (('model = "local"', 'model = "local"\nagent = "a"'), "exactly one of model, models and"),
        (('"ko"', '"korean"'), "languages"),
        (('"routes.toml"', '"gone.toml"'), "routes_file cannot be read"),
        (("routes.refunds", "routes.code"), "is in the settings too"),
    ],
)
def test_a_mistake_in_the_settings_is_named(
    coe: Coe, tmp_path: Path, change: tuple[str, str], why: str
) -> None:
    (tmp_path / "coe.toml").write_text(SETTINGS.replace(*change), encoding="utf-8")
    assert why in coe("config", "validate", code=1)


def judged(route: str | None, best: str, confidence: float) -> Judged:
    return Judged(
        labelled=Labelled(text="x", route=route, language="en"),
        best=best,
        confidence=confidence,
        decides=confidence >= 0.5,
    )


def test_a_report_counts_what_it_says() -> None:
    found = report(
        [
            judged("a", "a", 0.95),
            judged("a", "b", 0.65),
            judged("b", "b", 0.15),
            judged("b", "b", 1.0),
            judged(None, "a", 0.7),
            judged(None, "a", 0.1),
        ]
    )
    assert (found.in_scope.requests, found.in_scope.accuracy) == (4, 0.75)
    assert (found.in_scope.decided, found.in_scope.accuracy_decided) == (0.75, 2 / 3)
    assert (found.out_of_scope, found.false_accepts) == (2, 0.5)
    assert found.by_route["a"].accuracy == 0.5
    assert found.by_language["en"] == found.in_scope
    wrong = [(c.expected, c.got, c.requests) for c in found.confusion]
    assert sorted(wrong, key=str) == sorted([("a", "b", 1), (None, "a", 1)], key=str)
    assert [(b.low, b.requests, b.accuracy) for b in found.calibration] == [
        (0.1, 1, 1.0),
        (0.6, 1, 0.0),
        (0.9, 2, 1.0),
    ]
    assert found.calibration_error == pytest.approx((0.85 + 0.65 + 0.05) / 4)
    assert report([]).false_accepts is None
