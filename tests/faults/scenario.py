"""What a process does to a data folder in a short life: turns in groups, two days, a restart."""

import asyncio
import random
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from uuid import UUID

from coe_records import journal
from coe_records.folder import DataFolder
from coe_records.records import Records

from coe_core.error import Unavailable
from coe_core.identity import AttemptId, SessionId, TurnId
from coe_core.ledger import Intent
from coe_core.message import assistant, user
from coe_core.model import Usage
from coe_core.record import Interaction
from coe_core.service import Clock
from coe_core.settings import Secret
from coe_core.testing import make_attempt, make_interaction
from coe_core.testing.clock import ManualClock
from coe_core.turn import Outcome

SEGMENT_BYTES = 6000


def identity(clock: Clock, chance: random.Random) -> str:
    """Make an id as `coe_core.identity.uuid7` does, but the same one for the same seed."""
    ms = int(clock.now().timestamp() * 1000)
    low = 2 << 62 | chance.getrandbits(62)
    return str(UUID(int=ms << 80 | 7 << 76 | chance.getrandbits(12) << 64 | low))


def make_turn(clock: Clock, chance: random.Random) -> Interaction:
    """Make a turn of some hundred or thousand bytes."""
    now, turn_id = clock.now(), TurnId(identity(clock, chance))
    attempt = make_attempt(
        id=AttemptId(identity(clock, chance)),
        started_at=now,
        usage=Usage(input_tokens=10, output_tokens=5),
        cost_usd=Decimal("0.0001"),
    )
    return make_interaction(
        id=turn_id,
        group="research",
        session=SessionId(f"s{chance.randrange(3)}"),
        started_at=now,
        new_messages=(user("질문 " * chance.randrange(60)),),
        attempts=(attempt,),
        answer=(assistant("answer " * chance.randrange(200)),),
        outcome=Outcome(status="success", finish_reason="stop"),
    )


def intent_of(turn: Interaction) -> Intent:
    """Make the intent that goes before a turn's attempt."""
    return Intent(
        attempt_id=turn.attempts[0].id,
        owner_id=turn.id,
        group=turn.group,
        model="small",
        purpose="chat",
        reserved_usd=Decimal("0.01"),
        at=turn.started_at,
    )


class Life:
    """Tells of each turn whether it was acknowledged or refused: `turn ID` or `refused ID`."""

    def __init__(self, folder: DataFolder, seed: int, tell: Callable[[str], None]) -> None:
        self._folder = folder
        self._server = None
        if folder.server is not None:
            (file := folder.path.with_suffix(".server")).write_text(folder.server)
            self._server = Secret(f"file:{file}")
        self._chance = random.Random(seed)
        self._tell = tell
        self._clock = ManualClock()
        journal.TRY_AGAIN_S = 0.0  # Nobody waits here.

    async def live(self, until: Callable[[], bool] = lambda: True) -> None:
        """Write turns, close, and go on in a new process, as it were, until the time has come; then
        write one more.
        """
        for days in (0, 1):
            self._clock._now += timedelta(days=days)
            records = await self._open()
            for _ in range(3):
                await self._write(records, self._chance.choice([1, 2, 3]))
            self._clock._now += timedelta(days=1)
            await self._write(records, 2)
            if days == 0:
                await records.close()
        while not until():
            await self._write(records, 1)
        await self._write(records, 1)

    async def _open(self) -> Records:
        records = Records(self._folder.path, self._clock, SEGMENT_BYTES, self._server)
        await records.open()
        return records

    async def _write(self, records: Records, count: int) -> None:
        await asyncio.gather(*(self._write_one(records) for _ in range(count)))

    async def _write_one(self, records: Records) -> None:
        turn = make_turn(self._clock, self._chance)
        try:
            records.intend(intent_of(turn))
            await records.append(turn)
        except Unavailable:
            self._tell(f"refused {turn.id}")
        else:
            self._tell(f"turn {turn.id}")
