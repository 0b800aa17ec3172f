"""Alert rules: comparisons of samples, which mean the same here and in Prometheus."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from attrs import Attribute, field, fields, frozen
from attrs.validators import ge, matches_re, min_len

from coe_core.codec import shape_errors, structure
from coe_core.contract import Sample
from coe_core.error import SettingsError
from coe_core.settings import nearest

NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
METRIC = re.compile(r"[a-z_][a-z0-9_]*")

Held = Mapping[str, float]
"""The values of the label that a rule is `per`, each with what was measured; "" without one."""


@frozen(kw_only=True)
class Condition:
    """A comparison of one metric."""

    metric: str = field(validator=matches_re(METRIC))
    labels: Mapping[str, str] = field(factory=dict)
    """What the samples' labels have to be; other labels may be anything."""
    above: float | None = None
    below: float | None = None

    def __attrs_post_init__(self) -> None:
        """Refuse what compares nothing, or twice."""
        if (self.above is None) == (self.below is None):
            msg = "a condition has either `above` or `below`"
            raise ValueError(msg)

    def holds(self, value: float) -> bool:
        """Compare."""
        if self.above is not None:
            return value > self.above
        return self.below is not None and value < self.below

    def held(self, samples: Iterable[Sample], per: str | None) -> Held:
        """Tell for which values of the label it holds, with the most extreme that was measured."""
        worst = max if self.above is not None else min
        found: dict[str, float] = {}
        for sample in samples:
            if sample.metric != self.metric or not self.holds(sample.value):
                continue
            if all(sample.labels.get(name, "") == value for name, value in self.labels.items()):
                key = sample.labels.get(per, "") if per else ""
                found[key] = worst(found.get(key, sample.value), sample.value)
        return found


def _some(_: object, __: Attribute[Any], value: tuple[tuple[Condition, ...], ...]) -> None:
    if not value or not all(value):
        msg = "a list without a condition always holds"
        raise ValueError(msg)


@frozen(kw_only=True)
class Rule:
    """When an alert fires, and what to do then."""

    name: str = field(validator=matches_re(NAME))
    severity: Literal["info", "warning", "critical"] = "warning"
    playbook: str = field(validator=matches_re(NAME))
    """The page in `docs/playbooks/`, without its ending."""
    text: str = field(validator=min_len(1))
    text_ko: str = ""
    """The same in Korean; the playbook then has a page in Korean too."""
    any: tuple[tuple[Condition, ...], ...] = field(validator=_some)
    """It holds while all conditions of one of these do."""
    per: str | None = None
    """The label by whose values it holds apart."""
    for_s: float = field(default=0.0, validator=ge(0))
    """How long it has to hold before it fires."""
    plugin: str | None = None
    """The plugin that evaluates it itself; here it is only exported."""

    @property
    def page(self) -> str:
        """The path of the playbook."""
        return f"docs/playbooks/{self.playbook}.md"

    @property
    def pages(self) -> Mapping[str, str]:
        """The path of the playbook in other languages."""
        return {"ko": f"docs/playbooks/{self.playbook}.ko.md"} if self.text_ko else {}

    def held(self, samples: Sequence[Sample]) -> Held:
        """Tell for which values of its label it holds."""
        return reduce(
            lambda one, other: {**other, **one}, (_all(c, samples, self.per) for c in self.any)
        )

    def key(self, value: str) -> str:
        """Name the alert of a value of the label."""
        return f"{self.name}/{value}" if value else self.name


@frozen(kw_only=True)
class RuleFile:
    """What a file of rules holds."""

    rule: tuple[Rule, ...] = ()


def load(path: str | None) -> tuple[Rule, ...]:
    """Read the rules: of a file, or else our own. Raises `SettingsError`."""
    where = path or "coe_kpi/rules.toml"
    try:
        source = Path(path) if path else files(__package__).joinpath("rules.toml")
        tables = tomllib.loads(source.read_text(encoding="utf-8"))
        found: RuleFile = structure(tables, RuleFile)
        _refuse_unknown(tables, RuleFile)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"the rules cannot be read: {error}", where=where) from error
    except SettingsError as error:
        raise SettingsError(error.message, where=where) from error
    except Exception as error:
        wrong = "; ".join(f"{at}: {text}" for at, text in shape_errors(error))
        raise SettingsError(wrong, where=where) from error
    names = [rule.name for rule in found.rule]
    if twice := {name for name in names if names.count(name) > 1}:
        raise SettingsError(f"two rules are called {min(twice)!r}", where=where)
    return found.rule


def _refuse_unknown(table: Any, cls: type[Any], at: str = "") -> None:
    """Refuse keys that mean nothing, which may be misspelt."""
    known = [each.name for each in fields(cls)]
    for key in table:
        if key not in known:
            raise SettingsError(f"{at} there is no key {key!r}{nearest(key, known)}".strip())
    for number, rule in enumerate(table.get("rule", ())):
        _refuse_unknown(rule, Rule, f"rule[{number}]")
    for condition in (each for some in table.get("any", ()) for each in some):
        _refuse_unknown(condition, Condition, f"{at}.any")


def _all(conditions: Iterable[Condition], samples: Sequence[Sample], per: str | None) -> Held:
    first, *rest = (condition.held(samples, per) for condition in conditions)
    return {key: value for key, value in first.items() if all(key in other for other in rest)}
