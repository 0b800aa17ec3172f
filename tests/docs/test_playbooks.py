"""Every alert leads to a page that says what to do."""

import re
from pathlib import Path

import pytest
from coe_kpi.rule import Rule, load

from coe_core.host import compose_unopened
from coe_core.settings import Settings

from .conftest import ROOT

NAMED = re.compile(r"docs/playbooks/[a-z0-9-]+(?:\.ko)?\.md")
SOURCES = sorted((ROOT / "plugins").glob("*/src/**/*.py"))
RULES = load(None)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_rule_has_its_playbook(rule: Rule) -> None:
    page = ROOT / rule.page
    assert page.exists(), f"{rule.name} leads to {rule.page}: write it"
    pages = (page, page.with_name("README.md"))
    named = [rule.name in each.read_text(encoding="utf-8") for each in pages]
    assert any(named), f"neither {rule.page} nor the list of playbooks names {rule.name}"


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_rule_that_is_told_in_korean_has_its_playbook_in_korean(rule: Rule) -> None:
    assert {(ROOT / page).exists() for page in rule.pages.values()} <= {True}, rule.pages


def test_playbooks_that_plugins_name_are_there() -> None:
    named = {page for path in SOURCES for page in NAMED.findall(path.read_text(encoding="utf-8"))}
    assert {page for page in named if not (ROOT / page).exists()} == set()


def test_rules_that_plugins_evaluate_are_there(tmp_path: Path) -> None:
    application, _ = compose_unopened(Settings(), tmp_path)
    theirs = {rule.name: rule for rule in application.alert_rules}
    for rule in RULES:
        assert rule.name in theirs, f"the plugin {rule.plugin} has no rule {rule.name!r}"
        page = getattr(theirs[rule.name], "playbook", rule.playbook)
        assert page in (rule.page, rule.playbook), f"{rule.name} leads to two pages"
