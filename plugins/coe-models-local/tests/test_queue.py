"""The order in which groups are served."""

from __future__ import annotations

from collections import Counter

from coe_models_local.queue import FairQueue
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

groups = st.sampled_from("abc")


@given(st.integers(1, 50), st.integers(1, 50))
def test_a_flood_does_not_delay_another_group(flood: int, others: int) -> None:
    queue: FairQueue[int] = FairQueue()
    for number in range(flood):
        queue.push("flood", number)
    for number in range(others):
        queue.push(f"group {number}", number)
    served = [queue.pop()[0] for _ in range(others + 1)]
    assert set(served) == {"flood", *(f"group {number}" for number in range(others))}


class Serving(RuleBasedStateMachine):
    """Whoever waits at the head of its group is passed by every other group at most once."""

    def __init__(self) -> None:
        super().__init__()
        self.queue: FairQueue[int] = FairQueue()
        self.waiting: dict[str, list[int]] = {}
        self.passed_by: dict[str, Counter[str]] = {}
        self.number = 0

    @rule(group=groups)
    def push(self, group: str) -> None:
        self.number += 1
        self.queue.push(group, self.number)
        self.waiting.setdefault(group, []).append(self.number)
        self.passed_by.setdefault(group, Counter())

    @precondition(lambda self: self.waiting)
    @rule()
    def pop(self) -> None:
        group, item = self.queue.pop()
        assert item == self.waiting[group][0]
        self._remove(group, item)
        for other in self.waiting.keys() - {group}:
            self.passed_by[other][group] += 1
            assert self.passed_by[other][group] <= 1
        if group in self.passed_by:
            self.passed_by[group].clear()

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def discard(self, data: st.DataObject) -> None:
        group = data.draw(st.sampled_from(sorted(self.waiting)))
        item = data.draw(st.sampled_from(self.waiting[group]))
        self.queue.discard(group, item)
        self._remove(group, item)

    @invariant()
    def nothing_is_lost(self) -> None:
        assert len(self.queue) == sum(map(len, self.waiting.values()))

    def _remove(self, group: str, item: int) -> None:
        self.waiting[group].remove(item)
        if not self.waiting[group]:
            del self.waiting[group], self.passed_by[group]


TestServing = Serving.TestCase
