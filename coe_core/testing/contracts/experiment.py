"""The laws of experiments."""

from __future__ import annotations

import math
from collections import Counter

from hypothesis import strategies as st

from coe_core.contract import Arm, Experiment
from coe_core.identity import SessionId, TurnId, uuid7
from coe_core.testing.contracts.component import ComponentContract, is_json
from coe_core.testing.contracts.law import law
from coe_core.testing.strategies import names, session_ids, turn_ids

SESSIONS = 2000
SURE_SIGMA = 6.0
"""A fair assignment strays so far in one of a hundred million tries."""


class ExperimentContract(ComponentContract[Experiment]):
    """What holds of every experiment."""

    contract = Experiment

    @law(turn_id=turn_ids(), session_id=session_ids(), group=names())
    async def test_assigns_an_arm_or_none(
        self, experiment: Experiment, turn_id: TurnId, session_id: SessionId, group: str
    ) -> None:
        """An arm has a name, a positive weight, and parameters that are JSON."""
        arm = experiment.assign(turn_id, session_id, group)
        assert arm is None or isinstance(arm, Arm), (
            f"assign() returned {arm!r}; return coe_core.Arm, or None for outside the experiment"
        )
        if arm is not None:
            assert arm.name.strip(), "an arm has no name; it goes into the record"
            assert arm.weight > 0, f"the arm {arm.name!r} was assigned with weight {arm.weight}"
            assert is_json(dict(arm.params)), f"the parameters {arm.params!r} are not JSON"

    @law(ids=st.lists(turn_ids(), min_size=2, max_size=5), session_id=session_ids(), group=names())
    async def test_keeps_a_session_in_its_arm(
        self, experiment: Experiment, ids: list[TurnId], session_id: SessionId, group: str
    ) -> None:
        """Every turn of a session gets the same arm, in every worker."""
        async with self.running() as elsewhere:
            found = [
                one.assign(i, session_id, group) for i in ids for one in (experiment, elsewhere)
            ]
        names_found = {arm and arm.name for arm in found}
        assert len(names_found) == 1, (
            f"one session was in the arms {names_found}; derive the arm from a hash of the "
            "session's id (not Python's hash(), which differs between processes)"
        )

    @law()
    async def test_follows_the_weights(self, experiment: Experiment) -> None:
        """Over many sessions, the arms get what their weights say."""
        arms = [experiment.assign(TurnId(uuid7()), uuid7(), "default") for _ in range(SESSIONS)]
        counts = Counter(arm.name for arm in arms if arm is not None)
        weights = {arm.name: float(arm.weight) for arm in arms if arm is not None}
        total = sum(counts.values())
        for name, count in counts.items():
            share = weights[name] / sum(weights.values())
            spread = math.sqrt(total * share * (1 - share)) + 1
            assert abs(count - total * share) < SURE_SIGMA * spread, (
                f"of {total} sessions {count} were in the arm {name!r}, whose weight is a share "
                f"of {share:.2f}"
            )
