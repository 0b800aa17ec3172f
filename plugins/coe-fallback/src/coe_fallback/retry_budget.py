"""A budget for retries, so that they never become the load that keeps an upstream down.

A token bucket as gRPC has it (proposal A6, 2017): what goes well earns a share of a retry.
"""

from __future__ import annotations

from attrs import define, field


@define
class RetryBudget:
    """How many retries there may be: at first `most`, then `share` of what went well."""

    share: float = 0.2
    most: float = 10.0
    _tokens: float = field(init=False)

    def __attrs_post_init__(self) -> None:
        """Begin with a full one: the first requests after a start fail too."""
        self._tokens = self.most

    @property
    def left(self) -> float:
        """How many retries are left."""
        return self._tokens

    def earn(self) -> None:
        """Note an attempt that went well."""
        self._tokens = min(self.most, self._tokens + self.share)

    def spend(self) -> bool:
        """Take a retry; False when none is left."""
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
