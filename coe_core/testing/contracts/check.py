"""The laws of checks."""

from __future__ import annotations

from hypothesis import strategies as st

from coe_core.contract import Check, Finding
from coe_core.testing.contracts.component import ComponentContract, survives_cancellation
from coe_core.testing.contracts.law import law


class CheckContract(ComponentContract[Check]):
    """What holds of every check of `coe doctor`."""

    contract = Check

    @law()
    async def test_says_what_it_found(self, check: Check) -> None:
        """A check returns a finding with a text; one that is not ok says how to mend it."""
        finding = await check.check()
        assert isinstance(finding, Finding), f"check() returned {finding!r}; return a Finding"
        assert finding.text.strip(), "a finding has no text"
        assert finding.ok or finding.mend.strip(), (
            f"{finding.text!r} is not ok, and `mend` does not say what to do"
        )

    @law()
    async def test_changes_nothing(self, check: Check) -> None:
        """Looking twice finds the same."""
        first, second = await check.check(), await check.check()
        assert first.ok == second.ok, f"found {first!r}, then {second!r}; a check only looks"

    @law(steps=st.integers(0, 3))
    async def test_lets_itself_be_cancelled(self, check: Check, steps: int) -> None:
        """Ctrl-C ends a check."""
        await survives_cancellation(check.check(), steps)
