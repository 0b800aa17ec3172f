"""Who is served next."""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

from attrs import define, field

T = TypeVar("T")


@define
class FairQueue(Generic[T]):
    """A queue that serves the groups in turn, and within a group first come, first served.

    However much one group asks for, another waits for at most one item of every group.
    """

    # The groups in the order in which they will be served; none is empty.
    _waiting: dict[str, deque[T]] = field(factory=dict, init=False)

    def __len__(self) -> int:
        """Count what waits."""
        return sum(map(len, self._waiting.values()))

    def push(self, group: str, item: T) -> None:
        """Let an item wait."""
        self._waiting.setdefault(group, deque()).append(item)

    def pop(self) -> tuple[str, T]:
        """Take the next item with its group, which goes to the end of the line."""
        group = next(iter(self._waiting))
        items = self._waiting.pop(group)
        item = items.popleft()
        if items:
            self._waiting[group] = items
        return group, item

    def discard(self, group: str, item: T) -> None:
        """Remove an item that no longer waits."""
        items = self._waiting[group]
        items.remove(item)
        if not items:
            del self._waiting[group]
