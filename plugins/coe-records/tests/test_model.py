"""Whatever happens to its processes, a data folder holds what a dictionary would."""

import asyncio
import shutil
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
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
from coe_core.record import Feedback, Interaction, Pointer
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
        self.held: dict[TurnId, Interaction] = {}
        """Turns that are over, and are yet to be delivered."""
        self.newest: dict[tuple[str, str], TurnId] = {}
        self.feedback: dict[str, Feedback] = {}

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
        group, name = session
        turn = self.make_turn(
            len(self.turns) + len(self.held),
            group=group,
            session=SessionId(name),
            follows=self.newest.get(session),
            started_at=self.clock.now(),
        )
        self.newest[session] = turn.id
        return turn

    def head(self, session: tuple[str, str]) -> TurnId | None:
        """Of the turns that were delivered and that no other of them follows, the newest."""
        turns = [t for t in self.turns.values() if (t.group, t.session) == session]
        followed = {turn.follows for turn in turns}
        ends = [(turn.started_at, turn.id) for turn in turns if turn.id not in followed]
        return max(ends)[1] if ends else None

    def said(self, turn_id: TurnId | None) -> tuple[Message, ...]:
        """What was said up to a turn, as far back as turns were delivered."""
        turn = self.turns.get(turn_id) if turn_id else None
        return (*self.said(turn.follows), *turn.messages) if turn else ()

    def deliver(self, place: int, turns: list[Interaction]) -> list[Pointer]:
        pointers = self.writer(place).commit([Draft.of(turn) for turn in turns])
        self.turns |= {turn.id: turn for turn in turns}
        return pointers

    @rule(place=PROCESSES, sessions=st.lists(SESSIONS, min_size=1, max_size=4))
    def append(self, place: int, sessions: list[tuple[str, str]]) -> None:
        turns = [self.next_turn(session) for session in sessions]
        pointers = self.deliver(place, turns)
        assert len({(p.segment, p.offset) for p in pointers}) == len(turns)

    @rule(sessions=st.lists(SESSIONS, min_size=1, max_size=3))
    def hold_back(self, sessions: list[tuple[str, str]]) -> None:
        for session in sessions:
            turn = self.next_turn(session)
            self.held[turn.id] = turn

    @precondition(lambda self: self.held)
    @rule(place=PROCESSES, late=st.data())
    def deliver_late_and_in_any_order(self, place: int, late: st.DataObject) -> None:
        held = list(self.held)
        chosen = late.draw(st.lists(st.sampled_from(held), min_size=1, unique=True))
        self.deliver(place, [self.held.pop(turn_id) for turn_id in chosen])

    @precondition(lambda self: self.turns)
    @rule(place=PROCESSES, again=st.data(), session=SESSIONS)
    def deliver_again(self, place: int, again: st.DataObject, session: tuple[str, str]) -> None:
        old = self.turns[again.draw(st.sampled_from(list(self.turns)))]
        new = self.next_turn(session)
        first, _, third = self.deliver(place, [new, old, new])
        assert first == third

    @precondition(lambda self: self.turns or self.held)
    @rule(place=PROCESSES, about=st.data(), number=st.integers(0, 5))
    def say_something_of_a_turn(self, place: int, about: st.DataObject, number: int) -> None:
        """Of one that is yet to come, too; and the same again."""
        turn = (self.turns | self.held)[about.draw(st.sampled_from([*self.turns, *self.held]))]
        said = self.feedback.setdefault(
            f"f{number}",
            Feedback(
                id=f"f{number}",
                turn_id=turn.id,
                group=turn.group,
                rating=1,
                actor="me",
                at=self.clock.now(),
            ),
        )
        self.writer(place).commit([Draft.of(said), Draft.of(said)])

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
        assert [row[0] for row in rows["feedback"]] == sorted(self.feedback)

    @rule(session=SESSIONS, limit=st.integers(1, 9))
    def ask(self, session: tuple[str, str], limit: int) -> None:
        asyncio.run(self._ask(*session, limit))

    async def _ask(self, group: str, session: str, limit: int) -> None:
        reader = Reader(self.folder)
        await reader.open()
        head = await reader.head(group, SessionId(session))
        assert head == self.head((group, session))
        if head is not None:
            assert await reader.interaction(group, head) == self.turns[head]
            history = await reader.history(group, head, limit=limit)
            assert history.messages == self.said(head)[-limit:]
            other = "support" if group == "research" else "research"
            assert await reader.interaction(other, head) is None
            assert (await reader.history(other, head, limit=limit)).messages == ()
        await reader.close()


@pytest.mark.parametrize("examples", [25, pytest.param(1000, marks=pytest.mark.faults)])
def test_records_are_those_of_a_dictionary(
    examples: int,
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
            max_examples=examples,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
