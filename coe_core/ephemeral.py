"""Journals for want of a better: one that forgets, where no plugin keeps records, and one that
refuses, where the plugin that does cannot.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Collection, Sequence
from datetime import datetime

from attrs import define, field, frozen

from coe_core.error import Conflict, Unavailable
from coe_core.identity import SessionId, TurnId
from coe_core.ledger import Intent
from coe_core.message import Message
from coe_core.record import Feedback, Interaction, Pointer, Record
from coe_core.service import History, Stretch

KEPT_TURNS = 10_000
"""The oldest turns beyond this are forgotten even while the process lives; so is feedback."""

NOWHERE = Pointer(segment="memory", offset=0, length=0, sha256="")


@frozen
class ClosedJournal:
    """Stands in for a journal that did not open: no turn may run that nobody would keep."""

    reason: str

    @property
    def refusal(self) -> str:
        """Why no turn is taken."""
        return f"turns cannot be recorded, so none is taken: {self.reason}"

    async def append(self, record: Record) -> Pointer:  # noqa: ARG002 the contract's
        """Refuse."""
        raise self._refusal()

    def intend(self, intent: Intent) -> None:  # noqa: ARG002 the contract's
        """Refuse before anything is spent."""
        raise self._refusal()

    def _refusal(self) -> Unavailable:
        return Unavailable(self.refusal)


@define
class EphemeralRecords:
    """`Journal`, `RecordReader` and `SessionStore` in one, bounded."""

    _turns: dict[tuple[str, TurnId], Interaction] = field(factory=dict, init=False)
    _heads: dict[tuple[str, SessionId], TurnId] = field(factory=dict, init=False)
    _conversations: dict[tuple[str, str], TurnId] = field(factory=dict, init=False)
    _feedback: dict[str, Feedback] = field(factory=dict, init=False)
    _written: deque[Record] = field(factory=lambda: deque(maxlen=KEPT_TURNS), init=False)
    _count: int = field(default=0, init=False)
    """How many records were ever written."""

    async def append(self, record: Record) -> Pointer:
        """Keep a turn, or feedback on one; other records are kept for those who follow."""
        if not isinstance(record, Interaction) or (record.group, record.id) not in self._turns:
            self._written.append(record)
            self._count += 1
        if isinstance(record, Interaction):
            self._turns[record.group, record.id] = record
            self._heads[record.group, record.session] = record.id
            self._conversations[record.group, record.conversation] = record.id
            if len(self._turns) > KEPT_TURNS:
                self._forget(next(iter(self._turns.values())))
        elif isinstance(record, Feedback):
            self._feedback[record.id] = record
            if len(self._feedback) > KEPT_TURNS:
                del self._feedback[next(iter(self._feedback))]
        return NOWHERE

    def intend(self, intent: Intent) -> None:
        """Keep nothing: an intent matters only after a crash, and after a crash all is gone."""

    async def interaction(self, group: str, turn_id: TurnId) -> Interaction | None:
        """Return a turn of that group."""
        return self._turns.get((group, turn_id))

    async def pointer(self, group: str, turn_id: TurnId) -> Pointer | None:
        """Tell that it is in memory."""
        return NOWHERE if (group, turn_id) in self._turns else None

    async def interactions(
        self, group: str | None, *, since: datetime | None = None, until: datetime | None = None
    ) -> AsyncIterator[Interaction]:
        """Iterate over turns by start."""
        for turn in sorted(self._turns.values(), key=lambda turn: (turn.started_at, turn.id)):
            if _within(turn.started_at, since, until) and group in (None, turn.group):
                yield turn

    async def newest(
        self, group: str, limit: int, *, since: datetime | None = None
    ) -> Sequence[Interaction]:
        """Return the turns of a group that began last."""
        turns = [turn async for turn in self.interactions(group, since=since)]
        return turns[: -limit - 1 : -1]

    async def feedback(
        self, group: str | None, *, since: datetime | None = None, until: datetime | None = None
    ) -> AsyncIterator[Feedback]:
        """Iterate over feedback by when it was given."""
        for said in sorted(self._feedback.values(), key=lambda said: (said.at, said.id)):
            if _within(said.at, since, until) and group in (None, said.group):
                yield said

    async def follow(
        self, cursor: str = "", *, without: Collection[str] = ()
    ) -> AsyncIterator[Stretch]:
        """Read what was written behind a cursor, as far as it is not forgotten."""
        del without  # They are in memory as they are.
        behind = self._count - int(cursor or 0)
        if behind < 0:
            raise Conflict(f"the cursor {cursor!r} is of another log; begin again without one")
        if behind:
            newest = tuple(self._written)[-behind:]
            yield Stretch(records=newest, cursor=str(self._count))

    async def end(self) -> str:
        """Return the cursor behind all that was written until now."""
        return str(self._count)

    async def head(self, group: str, session_id: SessionId) -> TurnId | None:
        """Return the newest turn of a session."""
        return self._heads.get((group, session_id))

    async def find(self, group: str, conversation: str) -> Interaction | None:
        """Return the newest turn whose conversation has that digest."""
        turn_id = self._conversations.get((group, conversation))
        return None if turn_id is None else self._turns.get((group, turn_id))

    async def history(self, group: str, turn_id: TurnId, *, limit: int) -> History:
        """Return the conversation through that turn."""
        messages: list[Message] = []
        turn = self._turns.get((group, turn_id))
        while turn is not None and len(messages) < limit:
            messages = [*turn.messages, *messages]
            turn = self._turns.get((group, turn.follows)) if turn.follows else None
        return History(messages=tuple(messages[-limit:]))

    def _forget(self, turn: Interaction) -> None:
        del self._turns[turn.group, turn.id]
        if self._heads.get((turn.group, turn.session)) == turn.id:
            del self._heads[turn.group, turn.session]
        self._conversations.pop((turn.group, turn.conversation), None)


def _within(at: datetime, since: datetime | None, until: datetime | None) -> bool:
    return (since is None or since <= at) and (until is None or at < until)
