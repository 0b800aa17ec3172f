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

from attrs import define, evolve, field, frozen

from coe_core.codec import rfc3339
from coe_core.error import BudgetExceeded, Conflict, RateLimited
from coe_core.identity import uuid7

if TYPE_CHECKING:
    from coe_core.service import Clock, StateStore
    from coe_core.settings import GroupTable

ZERO = Decimal(0)
NEVER_RENEWED = datetime.min.replace(tzinfo=UTC)
LEASE_TIME = timedelta(seconds=60)
LEASES_PER_BUDGET = 200
"""A lease is at least this part of the budget, so that a busy worker writes seldom."""


@frozen(kw_only=True)
class RateLimits:
    """What a group has left of its requests and tokens per minute; None where it has no limit."""

    limit_requests: int | None = None
    remaining_requests: int | None = None
    reset_requests_s: float = 0.0
    limit_tokens: int | None = None
    remaining_tokens: int | None = None
    reset_tokens_s: float = 0.0


@define
class Bucket:
    """A token bucket that holds one minute's worth and fills evenly."""

    per_minute: int
    level: float
    at_s: float

    def refill(self, now_s: float) -> None:
        """Add what has flowed in since the last look."""
        flowed = (now_s - self.at_s) * self.per_minute / 60
        self.level = min(float(self.per_minute), self.level + max(0.0, flowed))
        self.at_s = now_s

    def wait_s(self, amount: float) -> float:
        """How long until the bucket holds that much; 0 when it does."""
        return max(0.0, (amount - self.level) * 60 / self.per_minute)


@define
class RateMeter:
    """Requests and tokens per minute of the groups, in this process."""

    clock: Clock
    _buckets: dict[tuple[str, str], Bucket] = field(factory=dict, init=False)

    def admit(self, group: str, limits: GroupTable) -> RateLimits | None:
        """Count a request. Raises `RateLimited` with the seconds to wait."""
        requests = self._bucket(group, "requests", limits.rpm)
        tokens = self._bucket(group, "tokens", limits.tpm)
        for bucket, unit in ((requests, "requests"), (tokens, "tokens")):
            if bucket is not None and (wait_s := bucket.wait_s(1)) > 0:
                raise RateLimited(
                    f"the group {group!r} has used its {bucket.per_minute} {unit} per minute; "
                    f"try again in {wait_s:.1f} s",
                    retry_after_s=wait_s,
                )
        if requests is not None:
            requests.level -= 1
        return self._limits(requests, tokens)

    def book_tokens(self, group: str, limits: GroupTable, tokens: int) -> None:
        """Count tokens after the fact; the bucket may go below zero and must then refill."""
        if (bucket := self._bucket(group, "tokens", limits.tpm)) is not None:
            bucket.level -= tokens

    def _bucket(self, group: str, unit: str, per_minute: int | None) -> Bucket | None:
        if per_minute is None:
            return None
        now_s = self.clock.monotonic_s()
        bucket = self._buckets.get((group, unit))
        if bucket is None or bucket.per_minute != per_minute:
            bucket = self._buckets[group, unit] = Bucket(per_minute, float(per_minute), now_s)
        bucket.refill(now_s)
        return bucket

    @staticmethod
    def _limits(requests: Bucket | None, tokens: Bucket | None) -> RateLimits | None:
        if requests is None and tokens is None:
            return None
        limits = RateLimits()
        if requests is not None:
            limits = evolve(
                limits,
                limit_requests=requests.per_minute,
                remaining_requests=int(max(0.0, requests.level)),
                reset_requests_s=requests.wait_s(requests.per_minute),
            )
        if tokens is not None:
            limits = evolve(
                limits,
                limit_tokens=tokens.per_minute,
                remaining_tokens=int(max(0.0, tokens.level)),
                reset_tokens_s=tokens.wait_s(tokens.per_minute),
            )
        return limits


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
        if lease.free < amount_usd or self.clock.now() >= lease.renew_at:
            async with lease.lock:
                if lease.free < amount_usd or self.clock.now() >= lease.renew_at:
                    await self._renew(key, lease, budget, amount_usd)
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
        return f"budgets/{group}/{self.clock.now():%Y-%m}"

    async def _renew(self, key: str, lease: Lease, budget: Budget, amount: Decimal) -> None:
        """Renew until the amount is free; others may reserve from the lease meanwhile."""
        whole = await self._write(key, lease, budget.limit_usd, amount)
        while lease.free < amount:
            if not whole:
                raise BudgetExceeded(
                    f"the group {budget.group!r} has {max(ZERO, lease.free):.4f} of its "
                    f"{budget.limit_usd} US dollars left this month, "
                    f"the call may cost {amount:.4f}"
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
