"""The exported rules, by the real promtool: it takes them, and they fire when ours do."""

import json
import shutil
import subprocess
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest
from coe_kpi.exposition import written
from coe_kpi.prometheus import exported
from coe_kpi.rule import Condition, Rule, load
from coe_kpi.standing import Board

from coe_core.codec import encode
from coe_core.contract import Sample
from coe_core.testing.clock import EPOCH

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not installed"
)
MINUTES = 40


def promtool(*arguments: str) -> None:
    done = subprocess.run(["promtool", *arguments], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def written_rules(folder: Path, rules: Any) -> Path:
    path = folder / "coe.rules.json"
    path.write_bytes(encode(exported(rules)))
    return path


@needs_promtool
def test_promtool_takes_the_rules(tmp_path: Path) -> None:
    promtool("check", "rules", str(written_rules(tmp_path, load(None))))


@needs_promtool
def test_promtool_takes_the_metrics() -> None:
    samples = [
        Sample(metric="coe_kpi_tokens", value=value, at=EPOCH, labels={"model": model})
        for model, value in (("작은", 1.5), ('a"b\\c\nd', 2.0), ("", float("inf")))
    ]
    help_is_lacking = "coe_kpi_tokens no help text\n"  # and the rest is as it should be
    done = subprocess.run(
        ["promtool", "check", "metrics"],
        check=False,
        capture_output=True,
        text=True,
        input=written(samples),
    )
    assert done.stdout + done.stderr == help_is_lacking


def series(rules: list[Rule]) -> dict[tuple[str, tuple[tuple[str, str], ...]], list[float]]:
    """Every series that a rule reads, with the bounds that it is compared with."""
    found: dict[tuple[str, tuple[tuple[str, str], ...]], list[float]] = {}
    for rule in rules:
        for condition in (c for some in rule.any for c in some):
            bound = condition.above if condition.above is not None else condition.below
            for value in ("x", "y") if rule.per else (None,):
                labels = {**condition.labels, **({rule.per: value} if rule.per and value else {})}
                key = (condition.metric, tuple(sorted(labels.items())))
                found.setdefault(key, []).append(bound or 0.0)
    return found


def values(random: Random, bounds: list[float]) -> list[float | None]:
    """Walk around the bounds, staying for a while, gone at times."""
    found: list[float | None] = []
    while len(found) < MINUTES:
        bound = random.choice(bounds)
        value = random.choice((None, bound, bound + 0.25, bound - 0.25, bound + 3))
        found += [value] * random.randint(1, 12)
    return found[:MINUTES]


@needs_promtool
@pytest.mark.parametrize("seed", range(6))
def test_it_fires_when_ours_does(tmp_path: Path, seed: int) -> None:
    random = Random(seed)
    rules = [*load(None), odd_rule()]
    walks = {key: values(random, bounds) for key, bounds in series(rules).items()}
    board, expected = Board(), []
    for minute in range(MINUTES):
        now = EPOCH + timedelta(minutes=minute)
        samples = [
            Sample(metric=metric, value=walk[minute] or 0.0, at=now, labels=dict(labels))
            for (metric, labels), walk in walks.items()
            if walk[minute] is not None
        ]
        held = {rule.name: rule.held(samples) for rule in rules}
        board = board.advance(now, rules, held, {})
        firing = {alert.key for alert in board.firing}
        expected += [_expected(rule, minute, firing) for rule in rules]
    test = {
        "rule_files": [str(written_rules(tmp_path, rules))],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [
                    {"series": _named(*key), "values": " ".join(map(_value, walk))}
                    for key, walk in walks.items()
                ],
                "alert_rule_test": expected,
            }
        ],
    }
    path = tmp_path / "test.json"
    path.write_text(json.dumps(test, ensure_ascii=False))
    assert any(each["exp_alerts"] for each in expected), "nothing ever fired"
    promtool("test", "rules", str(path))


def odd_rule() -> Rule:
    """A rule with all that the built-in ones do not have."""
    low = Condition(metric="coe_odd", labels={"kind": 'a"b\\c'}, below=0.5)
    high = Condition(metric="coe_other", above=-1.5)
    return Rule(
        name="odd", playbook="odd", text="odd", any=((low, high), (high,)), per="who", for_s=240.0
    )


def _expected(rule: Rule, minute: int, firing: set[str]) -> Any:
    (written_rule,) = exported([rule])["groups"][0]["rules"]  # type: ignore[index, call-overload]
    found = []
    for value in ("x", "y") if rule.per else ("",):
        if rule.key(value) not in firing:
            continue
        annotations = dict(written_rule["annotations"])
        annotations["summary"] = annotations["summary"].replace(
            f"{{{{ $labels.{rule.per} }}}}", value
        )
        labels = {"severity": rule.severity, **({rule.per: value} if rule.per else {})}
        found.append({"exp_labels": labels, "exp_annotations": annotations})
    return {"eval_time": f"{minute}m", "alertname": rule.name, "exp_alerts": found}


def _named(metric: str, labels: Any) -> str:
    pairs = [f"{name}={json.dumps(value)}" for name, value in labels]
    return f"{metric}{{{','.join(pairs)}}}"


def _value(value: float | None) -> str:
    return "stale" if value is None else repr(value)
