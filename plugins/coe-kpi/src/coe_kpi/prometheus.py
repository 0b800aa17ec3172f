"""The rules as Prometheus has them: `coe alerts export`."""

from __future__ import annotations

from collections.abc import Iterable

from coe_core.message import Json
from coe_kpi.rule import Condition, Rule


def exported(rules: Iterable[Rule]) -> Json:
    """Make a rule file; JSON is YAML as well."""
    return {"groups": [{"name": "coe", "rules": [_rule(rule) for rule in rules]}]}


def expression(rule: Rule) -> str:
    """Write when a rule holds in PromQL."""
    return " or ".join(
        f"({' and '.join(_compared(condition, rule.per) for condition in conditions)})"
        for conditions in rule.any
    )


def _rule(rule: Rule) -> Json:
    of_label = f" ({{{{ $labels.{rule.per} }}}})" if rule.per else ""
    return {
        "alert": rule.name,
        "expr": expression(rule),
        "for": f"{round(rule.for_s * 1000)}ms",
        "labels": {"severity": rule.severity},
        "annotations": {"summary": f"{rule.text}{of_label}", "playbook": rule.page},
    }


def _compared(condition: Condition, per: str | None) -> str:
    worst, sign, bound = "max", ">", condition.above
    if bound is None:
        worst, sign, bound = "min", "<", condition.below
    labels = ",".join(f"{name}={_quoted(value)}" for name, value in condition.labels.items())
    by = f" by ({per})" if per else ""
    return f"{worst}{by} ({condition.metric}{{{labels}}} {sign} {bound!r})"


def _quoted(value: str) -> str:
    escaped = value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
    return f'"{escaped}"'
