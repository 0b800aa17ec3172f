"""A worker that spends a group's budget until it is told that nothing is left: `python spending.py
STORE SEED LIMIT`, STORE being a file of SQLite's or one with an address of Postgres. It prints each
amount that it was promised, before it would spend it.
"""

import asyncio
import random
import sys
from decimal import Decimal
from pathlib import Path

from coe_records.postgres_state import PostgresStateStore

from coe_core.budget import BudgetBook
from coe_core.clock import SystemClock
from coe_core.error import BudgetExceeded
from coe_core.settings import Secret
from coe_core.state import SqliteStateStore


def store_at(place: Path) -> SqliteStateStore | PostgresStateStore:
    if place.suffix == ".sqlite":
        return SqliteStateStore(place)
    return PostgresStateStore(place.parent / "none", Secret(f"file:{place}"))


async def spend(place: Path, seed: int, limit_usd: Decimal) -> None:
    store = store_at(place)
    await store.open()
    book = BudgetBook(store, SystemClock())
    chosen = random.Random(seed)

    async def turns() -> None:
        while True:
            amount = limit_usd * chosen.randint(1, 40) / 10_000
            reservation = await book.budget("team", limit_usd).reserve(amount)
            print(amount, flush=True)  # noqa: T201 to whoever started it
            await asyncio.sleep(0)
            reservation.settle(amount)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(4):
                group.create_task(turns())
    except* BudgetExceeded:
        pass
    await book.close()
    await store.close()


if __name__ == "__main__":
    asyncio.run(spend(Path(sys.argv[1]), int(sys.argv[2]), Decimal(sys.argv[3])))
