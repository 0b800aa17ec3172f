"""The laws of alert rules."""

from __future__ import annotations

from datetime import datetime

from hypothesis import strategies as st

from coe_core.contract import Alert, AlertRule
from coe_core.testing.contracts.component import ComponentContract, survives_cancellation
from coe_core.testing.contracts.law import law
from coe_core.testing.strategies import instants


class AlertRuleContract(ComponentContract[AlertRule]):
    """What holds of every alert rule. Let `make` return one that fires, if it can."""

    contract = AlertRule

    @law(now=instants())
    async def test_fires_alerts_that_can_be_acted_on(self, rule: AlertRule, now: datetime) -> None:
        """Each alert names its rule, has a text, a playbook, a time with its zone, and a key of
        its own.
        """
        alerts = await rule.evaluate(now)
        for alert in alerts:
            assert isinstance(alert, Alert), f"evaluate() gave {alert!r}; return coe_core.Alert"
            assert alert.rule == rule.name, f"the alert's rule is {alert.rule!r}, not {rule.name!r}"
            assert alert.text.strip(), "an alert has no text"
            assert alert.playbook.endswith(".md"), (
                f"playbook is {alert.playbook!r}; it is the page in docs/playbooks/ that says "
                "what to do"
            )
            assert alert.at.tzinfo is not None, f"`at` is {alert.at!r}, without a zone"
        keys = [alert.key for alert in alerts]
        assert len(set(keys)) == len(keys), f"two alerts have one key: {keys}"

    @law(now=instants())
    async def test_keeps_its_keys(self, rule: AlertRule, now: datetime) -> None:
        """What lasts keeps its key: a sink delivers it once."""
        first, second = [{a.key for a in await rule.evaluate(now)} for _ in range(2)]
        assert first == second, f"keys were {sorted(first)}, then {sorted(second)}"

    @law(now=instants(), steps=st.integers(0, 3))
    async def test_lets_itself_be_cancelled(
        self, rule: AlertRule, now: datetime, steps: int
    ) -> None:
        """A server that shuts down cancels the evaluation."""
        await survives_cancellation(rule.evaluate(now), steps)
