"""Whatever happens to its processes, a data folder holds what a dictionary would."""

import asyncio
import shutil
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from coe_records.audit import audit
from coe_records.folder import DataFolder
from coe_records.reader import Reader
from coe_records.rebuild import rebuild
from coe_records.writer import Draft, Writer
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from coe_core.identity import SessionId, TurnId
from coe_core.message import Message
from coe_core.record import Interaction
from coe_core.testing.clock import ManualClock

Factories = tuple[
    Callable[[], DataFolder],
    Callable[..., Writer],
    Callable[[Writer], None],
    Callable[..., Interaction],
    Callable[[DataFolder], dict[str, list[Any]]],
]

PROCESSES = st.integers(0, 2)
SESSIONS = st.tuples(st.sampled_from(["research", "support"]), st.sampled_from(["s1", "s2"]))


class Records(RuleBasedStateMachine):
    """Three places for processes to run in; each is empty until something is written there."""

    def __init__(self, factories: Factories) -> None:
        super().__init__()
        new_folder, self.open_writer, self.kill, self.make_turn, self.tables = factories
        self.folder = new_folder()
        self.clock = ManualClock()
        self.writers: dict[int, Writer] = {}
        self.turns: dict[TurnId, Interaction] = {}
        self.said: dict[TurnId, tuple[Message, ...]] = {}
        self.heads: dict[tuple[str, str], TurnId] = {}

    def teardown(self) -> None:
        for writer in self.writers.values():
            self.kill(writer)
        self.open_writer(self.folder).close()
        self.agree()
        assert audit(self.folder).faults == ()
        before = self.tables(self.folder)
        rebuild(self.folder)
        assert self.tables(self.folder) == before
        shutil.rmtree(self.folder.path)

    def writer(self, place: int) -> Writer:
        if place not in self.writers:
            self.writers[place] = self.open_writer(
                self.folder, clock=self.clock, segment_bytes=5000
            )
        return self.writers[place]

    def next_turn(self, session: tuple[str, str]) -> Interaction:
        head = self.heads.get(session)
        group, name = session
        turn = self.make_turn(
            len(self.turns),
            group=group,
            session=SessionId(name),
            follows=head,
            started_at=self.clock.now(),
        )
        self.turns[turn.id] = turn
        self.said[turn.id] = (*self.said.get(head, ()), *turn.messages) if head else turn.messages
        self.heads[session] = turn.id
        return turn

    @rule(place=PROCESSES, sessions=st.lists(SESSIONS, min_size=1, max_size=4))
    def append(self, place: int, sessions: list[tuple[str, str]]) -> None:
        turns = [self.next_turn(session) for session in sessions]
        pointers = self.writer(place).commit([Draft.of(turn) for turn in turns])
        assert len({(p.segment, p.offset) for p in pointers}) == len(turns)

    @precondition(lambda self: self.turns)
    @rule(place=PROCESSES, again=st.data(), session=SESSIONS)
    def deliver_again(self, place: int, again: st.DataObject, session: tuple[str, str]) -> None:
        old = self.turns[again.draw(st.sampled_from(list(self.turns)))]
        new = self.next_turn(session)
        drafts = [Draft.of(turn) for turn in (new, old, new)]
        first, _, third = self.writer(place).commit(drafts)
        assert first == third

    @rule(hours=st.sampled_from([-30, -24, -1, 1, 24, 30]))
    def move_the_clock(self, hours: int) -> None:
        self.clock._now += timedelta(hours=hours)

    @rule(place=PROCESSES)
    def crash(self, place: int) -> None:
        if place in self.writers:
            self.kill(self.writers.pop(place))

    @rule(place=PROCESSES)
    def close(self, place: int) -> None:
        if place in self.writers:
            self.writers.pop(place).close()

    @rule(place=PROCESSES, torn=st.sampled_from([b"{", b'{"kind":"inter', bytes(100)]))
    def crash_in_a_write(self, place: int, torn: bytes) -> None:
        if place in self.writers:
            writer = self.writers.pop(place)
            if writer._segment is not None:
                with (self.folder.events / writer._segment.path).open("ab") as file:
                    file.write(torn)
            self.kill(writer)

    @precondition(lambda self: not self.writers)
    @rule()
    def lose_the_database(self) -> None:
        for path in self.folder.path.glob("coe.db*"):
            path.unlink()
        self.open_writer(self.folder, clock=self.clock).close()

    @invariant()
    def agree(self) -> None:
        rows = self.tables(self.folder)
        assert {row[0] for row in rows["interactions"]} == self.turns.keys()
        assert len(rows["chat_messages"]) == 2 * len(self.turns)

    @rule(session=SESSIONS, limit=st.integers(1, 9))
    def ask(self, session: tuple[str, str], limit: int) -> None:
        asyncio.run(self._ask(*session, limit))

    async def _ask(self, group: str, session: str, limit: int) -> None:
        reader = Reader(self.folder)
        await reader.open()
        head = await reader.head(group, SessionId(session))
        assert head == self.heads.get((group, session))
        if head is not None:
            assert await reader.interaction(group, head) == self.turns[head]
            history = await reader.history(group, head, limit=limit)
            assert history.messages == self.said[head][-limit:]
            other = "support" if group == "research" else "research"
            assert await reader.interaction(other, head) is None
            assert (await reader.history(other, head, limit=limit)).messages == ()
        await reader.close()


def test_records_are_those_of_a_dictionary(
    new_folder: Callable[[], DataFolder],
    open_writer: Callable[..., Writer],
    crash: Callable[[Writer], None],
    make_turn: Callable[..., Interaction],
    tables: Callable[[DataFolder], dict[str, list[Any]]],
) -> None:
    factories = (new_folder, open_writer, crash, make_turn, tables)
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        lambda: Records(factories),
        settings=settings(
            max_examples=25,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
