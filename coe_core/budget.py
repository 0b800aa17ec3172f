"""Budgets: money is reserved before a call is made, so that a group never overspends.

A worker takes a lease on a part of the group's month from the state store and reserves from it in
memory, so that a call costs no write. The sum of what was spent and what is leased never exceeds
the budget. What a worker spent is written back when its lease is renewed; a lease that is not
renewed in time belongs to a worker that died, and counts as spent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from attrs import define, field, frozen

from coe_core.codec import rfc3339
from coe_core.error import BudgetExceeded, Conflict
from coe_core.identity import uuid7

if TYPE_CHECKING:
    from coe_core.service import Clock, StateStore

ZERO = Decimal(0)
NEVER_RENEWED = datetime.min.replace(tzinfo=UTC)
LEASE_TIME = timedelta(seconds=60)
LEASES_PER_BUDGET = 200
"""A lease is at least this part of the budget, so that a busy worker writes seldom."""


@define
class Lease:
    """A part of a group's month that this worker may spend."""

    leased: Decimal = ZERO
    reserved: Decimal = ZERO
    spent: Decimal = ZERO
    renew_at: datetime = NEVER_RENEWED
    lock: asyncio.Lock = field(factory=asyncio.Lock)

    @property
    def free(self) -> Decimal:
        """What is neither reserved nor spent."""
        return self.leased - self.reserved - self.spent


@define
class Reservation:
    """Money set aside for one call; settled exactly once."""

    budget: Budget
    lease: Lease | None
    amount_usd: Decimal
    settled: bool = False

    def settle(self, cost_usd: Decimal) -> Decimal:
        """Book the true cost, in full, and free the rest. Returns what it exceeded the
        reservation by.
        """
        if self.settled:
            return ZERO
        self.settled = True
        if self.lease is not None:
            self.lease.reserved -= self.amount_usd
            self.lease.spent += cost_usd
        return max(ZERO, cost_usd - self.amount_usd) if self.lease is not None else ZERO


@define
class BudgetBook:
    """The leases of one worker."""

    store: StateStore
    clock: Clock
    worker: str = field(factory=uuid7)
    _leases: dict[str, Lease] = field(factory=dict, init=False)

    def budget(self, group: str, limit_usd: Decimal | None) -> Budget:
        """Return the budget of a group for a turn or a job."""
        return Budget(book=self, group=group, limit_usd=limit_usd)

    async def reserve(self, budget: Budget, amount_usd: Decimal) -> Reservation:
        """Set money aside. Raises `BudgetExceeded` when the month does not have it."""
        if budget.limit_usd is None:
            return Reservation(budget, None, amount_usd)
        key = self._key(budget.group)
        lease = self._leases.setdefault(key, Lease())
        while self._is_short(lease, amount_usd):
            # To the end, though the client leaves: a write that nobody books would be made twice.
            await asyncio.shield(self._ready(key, lease, budget, amount_usd))
        lease.reserved += amount_usd
        return Reservation(budget, lease, amount_usd)

    async def spent_usd(self, group: str) -> Decimal:
        """Add up what the group has spent this month, with expired leases and this worker's own."""
        key = self._key(group)
        account = Account.read((await self.store.get(key)).value, self.clock.now())
        own = self._leases.get(key)
        return account.spent + (own.spent if own else ZERO)

    async def close(self) -> None:
        """Write back what was spent and give the leases up."""
        for key, lease in self._leases.items():
            async with lease.lock:
                await self._write(key, lease, None, ZERO)

    def _key(self, group: str) -> str:
        now = self.clock.now()
        return f"budgets/{group}/{now.year:04}-{now.month:02}"

    def _is_short(self, lease: Lease, amount: Decimal) -> bool:
        return lease.free < amount or self.clock.now() >= lease.renew_at

    async def _ready(self, key: str, lease: Lease, budget: Budget, amount: Decimal) -> None:
        async with lease.lock:
            if self._is_short(lease, amount):
                await self._renew(key, lease, budget, amount)

    async def _renew(self, key: str, lease: Lease, budget: Budget, amount: Decimal) -> None:
        """Renew until the amount is free; others may reserve from the lease meanwhile."""
        whole = await self._write(key, lease, budget.limit_usd, amount)
        while lease.free < amount:
            if not whole:
                raise BudgetExceeded(
                    f"the group {budget.group!r} has {max(ZERO, lease.free):.4f} of its "
                    f"{budget.limit_usd} US dollars left this month, "
                    f"the call may cost {amount:.4f}",
                    retry_after_s=_rest_of_month_s(self.clock.now()),
                )
            whole = await self._write(key, lease, budget.limit_usd, amount)

    async def _write(self, key: str, lease: Lease, limit: Decimal | None, amount: Decimal) -> bool:
        """Write back what was spent and, within `limit`, lease anew, as one compare-and-set.
        Returns whether the budget had the whole amount.
        """
        while True:
            now = self.clock.now()
            current = await self.store.get(key)
            account = Account.read(current.value, now)
            spent = lease.spent
            others = sum((u for w, (u, _) in account.leases.items() if w != self.worker), ZERO)
            wanted = asked = lease.reserved
            if limit is not None:
                available = limit - account.spent - spent - others
                asked += max(amount, limit / LEASES_PER_BUDGET)
                wanted = max(lease.reserved, min(asked, available))
            until = now + LEASE_TIME
            account.spent += spent
            account.leases[self.worker] = (wanted, until)
            if wanted == ZERO:
                del account.leases[self.worker]
            try:
                await self.store.put(key, account.written(), expect=current.version)
            except Conflict:
                continue
            lease.spent -= spent
            lease.leased = wanted
            lease.renew_at = now + LEASE_TIME / 2
            return wanted == asked


def _rest_of_month_s(now: datetime) -> float:
    first = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return ((first + timedelta(days=32)).replace(day=1) - now).total_seconds()


@define
class Account:
    """A group's month as it stands in the state store."""

    spent: Decimal
    leases: dict[str, tuple[Decimal, datetime]]

    @classmethod
    def read(cls, value: Mapping[str, Any] | None, now: datetime) -> Account:
        """Read it; a lease that has run out counts as spent."""
        value = value or {"spent": "0", "leases": {}}
        spent = Decimal(value["spent"])
        leases = {}
        for worker, (amount, until) in value["leases"].items():
            if datetime.fromisoformat(until) < now:
                spent += Decimal(amount)
            else:
                leases[worker] = (Decimal(amount), datetime.fromisoformat(until))
        return cls(spent, leases)

    def written(self) -> dict[str, Any]:
        """Return it as JSON values."""
        leases = {w: [str(amount), rfc3339(until)] for w, (amount, until) in self.leases.items()}
        return {"spent": str(self.spent), "leases": leases}


@frozen(kw_only=True)
class Budget:
    """What pays for the calls of a turn and of its child turns."""

    book: BudgetBook = field(repr=False)
    group: str
    limit_usd: Decimal | None
    """None means no limit."""

    async def reserve(self, amount_usd: Decimal) -> Reservation:
        """Set money aside for a call. Raises `BudgetExceeded`."""
        return await self.book.reserve(self, amount_usd)
