"""Who pays for a call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from coe_core.access import Principal

if TYPE_CHECKING:
    from coe_core.application import Application
    from coe_core.budget import Budget
    from coe_core.ledger import Ledger


class Payer(Protocol):
    """For whom a model is called, and who pays: a turn, or work that no request asked for
    (`coe_core.job.Work`).
    """

    @property
    def id(self) -> str:
        """The turn, or the run of the job."""
        ...

    @property
    def principal(self) -> Principal:
        """Whose models may be called."""
        ...

    @property
    def group(self) -> str:
        """The group whose budget it is."""
        ...

    @property
    def ledger(self) -> Ledger:
        """Where every call ends."""
        ...

    @property
    def budget(self) -> Budget:
        """What pays."""
        ...

    @property
    def application(self) -> Application:
        """The composition that it runs in from beginning to end."""
        ...

    @property
    def deadline_s(self) -> float:
        """When a call must have ended, on the clock's monotonic scale."""
        ...
