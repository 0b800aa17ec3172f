"""The laws of what keeps records: journals, readers and session stores."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import TypeAlias

from attrs import evolve
from hypothesis import strategies as st

from coe_core.identity import SessionId, TurnId
from coe_core.ledger import Intent
from coe_core.message import Message
from coe_core.record import Feedback, Interaction, Pointer, Record
from coe_core.service import Journal, RecordReader, SessionStore
from coe_core.testing.contracts.component import ServiceContract, survives_cancellation, untouched
from coe_core.testing.contracts.law import law
from coe_core.testing.strategies import feedbacks, intents, interactions, records

Turns: TypeAlias = list[Interaction]


def several(least: int = 1) -> st.SearchStrategy[Turns]:
    """Turns of two groups and of any sessions."""
    groups = st.sampled_from(["research", "support"])
    distinct = (_turn_id, _session_id)
    return st.lists(interactions(groups), min_size=least, max_size=4, unique_by=distinct)


@st.composite
def one_session(draw: st.DrawFn) -> Turns:
    """Turns that follow each other."""
    turns = draw(several(2))
    linked: Turns = []
    for number, turn in enumerate(turns):
        follows = linked[-1].id if linked else None
        started_at = turns[0].started_at + timedelta(minutes=number)
        linked.append(
            evolve(
                turn,
                group=turns[0].group,
                session=turns[0].session,
                follows=follows,
                started_at=started_at,
                ended_at=started_at + timedelta(seconds=1),
                conversation=f"{number:064}",
            )
        )
    return linked


@st.composite
def opinions(draw: st.DrawFn) -> list[Feedback]:
    """Feedback of two groups."""
    groups = st.sampled_from(["research", "support"])
    said = draw(st.lists(feedbacks(), min_size=2, max_size=4, unique_by=lambda said: said.id))
    return [evolve(each, group=draw(groups)) for each in said]


def _turn_id(turn: Interaction) -> TurnId:
    return turn.id


def _session_id(turn: Interaction) -> SessionId:
    return turn.session


class JournalContract(ServiceContract[Journal]):
    """What holds of every journal."""

    contract = Journal

    @law(record=records())
    async def test_points_to_what_it_wrote(self, journal: Journal, record: Record) -> None:
        """A record of every kind is taken, left alone, and its place returned."""
        with untouched(record):
            pointer = await journal.append(record)
        assert isinstance(pointer, Pointer), (
            f"append() returned {pointer!r}; return a coe_core.record.Pointer"
        )
        assert pointer.segment, "a pointer has no segment"

    @law(turn=interactions())
    async def test_writes_a_turn_once(self, journal: Journal, turn: Interaction) -> None:
        """The same turn again, one after the other or at once, is the same line."""
        first = await journal.append(turn)
        again = await asyncio.gather(*(journal.append(turn) for _ in range(3)))
        assert {first, *again} == {first}, f"one turn was written at {[first, *again]}"

    @law(turns=several(2))
    async def test_gives_each_turn_its_own_place(self, journal: Journal, turns: Turns) -> None:
        """Turns that are written at once do not share a place."""
        pointers = await asyncio.gather(*(journal.append(turn) for turn in turns))
        places = [(p.segment, p.offset) for p in pointers if p.length]
        assert len(set(places)) == len(places), f"two turns lie at one place: {places}"

    @law(intent=intents())
    async def test_notes_an_intent_without_waiting(self, journal: Journal, intent: Intent) -> None:
        """`intend` is a plain call: it may not wait for the disk."""
        noted: object = journal.intend(intent)  # type: ignore[func-returns-value]
        assert noted is None, f"intend() returned {noted!r}; it is not awaited: a plain `def`"

    @law(turn=interactions(), steps=st.integers(0, 5))
    async def test_can_be_cancelled(self, journal: Journal, turn: Interaction, steps: int) -> None:
        """A cancelled append does no harm to the next one, of the same turn or another."""
        await survives_cancellation(journal.append(turn), steps)
        await journal.append(turn)


class RecordReaderContract(ServiceContract[tuple[Journal, RecordReader]]):
    """What holds of every reader. `make` returns a journal and the reader of what it writes."""

    contracts = (Journal, RecordReader)

    @law(turns=several())
    async def test_reads_back_what_was_written(
        self, pair: tuple[Journal, RecordReader], turns: Turns
    ) -> None:
        """A turn comes back equal, in every field, as soon as it is acknowledged."""
        journal, reader = pair
        for turn in turns:
            await journal.append(turn)
            found = await reader.interaction(turn.group, turn.id)
            assert found == turn, f"wrote {turn!r}, read {found!r}"

    @law(turn=interactions())
    async def test_keeps_groups_apart(
        self, pair: tuple[Journal, RecordReader], turn: Interaction
    ) -> None:
        """Another group's turn is as unknown as none."""
        journal, reader = pair
        await journal.append(turn)
        other = f"not-{turn.group}"
        assert await reader.interaction(other, turn.id) is None, "another group's turn was shown"
        assert not [t async for t in reader.interactions(other)], "another group's were listed"

    @law(turn=interactions())
    async def test_tells_where_a_turn_lies(
        self, pair: tuple[Journal, RecordReader], turn: Interaction
    ) -> None:
        """It is the place that the journal named; to another group there is none."""
        journal, reader = pair
        wrote = await journal.append(turn)
        assert await reader.pointer(turn.group, turn.id) == wrote, "it lies elsewhere"
        assert await reader.pointer(f"not-{turn.group}", turn.id) is None, "another group was told"

    @law(turns=several())
    async def test_lists_by_start(self, pair: tuple[Journal, RecordReader], turns: Turns) -> None:
        """Turns come oldest first; None lists every group's."""
        journal, reader = pair
        for turn in turns:
            await journal.append(turn)
        for group in (None, turns[0].group):
            listed = [turn async for turn in reader.interactions(group)]
            starts = [turn.started_at for turn in listed]
            assert starts == sorted(starts), f"not oldest first: {starts}"
            wanted = {turn.id for turn in turns if group in (None, turn.group)}
            assert {turn.id for turn in listed} == wanted, f"of {wanted} were listed {listed!r}"

    @law(turns=several(2), place=st.integers(0, 3))
    async def test_lists_a_window(
        self, pair: tuple[Journal, RecordReader], turns: Turns, place: int
    ) -> None:
        """`since` is within the window, `until` is not."""
        journal, reader = pair
        for turn in turns:
            await journal.append(turn)
        edge: datetime = turns[place % len(turns)].started_at
        late = {turn.id async for turn in reader.interactions(None, since=edge)}
        early = {turn.id async for turn in reader.interactions(None, until=edge)}
        assert late == {t.id for t in turns if t.started_at >= edge}, "since <= start"
        assert early == {t.id for t in turns if t.started_at < edge}, "start < until"

    @law(turns=several(2), limit=st.integers(1, 4), place=st.integers(0, 3))
    async def test_returns_the_newest(
        self, pair: tuple[Journal, RecordReader], turns: Turns, limit: int, place: int
    ) -> None:
        """The group's turns that began last come, the newest first, and none before `since`."""
        journal, reader = pair
        for turn in turns:
            await journal.append(turn)
        edge: datetime = turns[place % len(turns)].started_at
        for group, since in ((turns[0].group, None), (turns[-1].group, edge)):
            starts = [t.started_at for t in turns if t.group == group]
            wanted = sorted((at for at in starts if since is None or at >= since), reverse=True)
            found = await reader.newest(group, limit, since=since)
            shown = [turn.started_at for turn in found]
            assert shown == wanted[:limit], f"of {wanted} were returned {shown}"
            assert {turn.group for turn in found} <= {group}, "another group's were returned"

    @law(opinions=opinions())
    async def test_lists_feedback(
        self, pair: tuple[Journal, RecordReader], opinions: list[Feedback]
    ) -> None:
        """Feedback comes back equal, oldest first, to its own group; None lists every group's."""
        journal, reader = pair
        for said in opinions:
            await journal.append(said)
        for group in (None, "research", "support", "another"):
            listed = [said async for said in reader.feedback(group)]
            times = [said.at for said in listed]
            assert times == sorted(times), f"not oldest first: {times}"
            wanted = {said.id: said for said in opinions if group in (None, said.group)}
            assert {said.id: said for said in listed} == wanted, (
                f"to {group} belongs {wanted!r}, listed was {listed!r}"
            )

    @law(opinions=opinions(), place=st.integers(0, 3))
    async def test_lists_a_window_of_feedback(
        self, pair: tuple[Journal, RecordReader], opinions: list[Feedback], place: int
    ) -> None:
        """`since` is within the window, `until` is not."""
        journal, reader = pair
        for said in opinions:
            await journal.append(said)
        edge: datetime = opinions[place % len(opinions)].at
        late = {said.id async for said in reader.feedback(None, since=edge)}
        early = {said.id async for said in reader.feedback(None, until=edge)}
        assert late == {said.id for said in opinions if said.at >= edge}, "since <= at"
        assert early == {said.id for said in opinions if said.at < edge}, "at < until"

    @law(turn=interactions(), steps=st.integers(0, 8))
    async def test_holds_whole_turns_or_none(
        self, pair: tuple[Journal, RecordReader], turn: Interaction, steps: int
    ) -> None:
        """An append that was cancelled has written the turn whole, or not at all."""
        journal, reader = pair
        await survives_cancellation(journal.append(turn), steps)
        found = await reader.interaction(turn.group, turn.id)
        assert found in (None, turn), f"wrote {turn!r}, after a cancellation there is {found!r}"

    @law(some=st.lists(records(), min_size=1, max_size=4), later=st.lists(records(), max_size=2))
    async def test_can_be_followed(
        self, pair: tuple[Journal, RecordReader], some: list[Record], later: list[Record]
    ) -> None:
        """Who follows reads every record once, in order, and from a cursor on what is new."""
        journal, reader = pair
        first, cursor = await _written(journal, reader, some)
        assert first == _once(some), f"wrote {some!r}, read {first!r}"
        again, cursor = await _written(journal, reader, [], cursor)
        assert not again, f"behind the last cursor there was still {again!r}"
        new = _once([*some, *later])[len(first) :]
        second, _ = await _written(journal, reader, later, cursor)
        assert second == new, f"behind the cursor were written {new!r}, read {second!r}"

    @law(some=st.lists(records(), min_size=1, max_size=4), later=st.lists(records(), max_size=2))
    async def test_can_be_followed_from_its_end(
        self, pair: tuple[Journal, RecordReader], some: list[Record], later: list[Record]
    ) -> None:
        """Who follows from the end of the log reads what is new, and nothing that was there."""
        journal, reader = pair
        for record in some:
            await journal.append(record)
        new = _once([*some, *later])[len(_once(some)) :]
        found, _ = await _written(journal, reader, later, await reader.end())
        assert found == new, f"behind the end were written {new!r}, read {found!r}"

    @law(some=st.lists(records(), min_size=1, max_size=4))
    async def test_can_be_followed_in_part(
        self, pair: tuple[Journal, RecordReader], some: list[Record]
    ) -> None:
        """Who follows without some fields reads of all others what was written."""
        journal, reader = pair
        for record in some:
            await journal.append(record)
        stretches = reader.follow(without=("params", "answer"))
        found = [_part(record) async for stretch in stretches for record in stretch.records]
        written = [_part(record) for record in _once(some)]
        assert found == written, f"of {written!r} was read {found!r}"


async def _written(
    journal: Journal, reader: RecordReader, some: list[Record], cursor: str = ""
) -> tuple[list[Record], str]:
    """Write records, and read what is behind the cursor."""
    for record in some:
        await journal.append(record)
    found: list[Record] = []
    async for stretch in reader.follow(cursor):
        found += stretch.records
        cursor = stretch.cursor
    return found, cursor


def _part(record: Record) -> Record:
    return evolve(record, params={}, answer=()) if isinstance(record, Interaction) else record


def _once(some: list[Record]) -> list[Record]:
    """Leave out the records that a journal does not write again."""
    unique: list[Record] = []
    for record in some:
        ids = {each.id for each in unique if isinstance(each, Interaction | Feedback)}
        if not isinstance(record, Interaction | Feedback) or record.id not in ids:
            unique.append(record)
    return unique


class SessionStoreContract(ServiceContract[tuple[Journal, SessionStore]]):
    """What holds of every session store. `make` returns a journal and the store that reads it."""

    contracts = (Journal, SessionStore)

    @law(turns=one_session())
    async def test_knows_the_newest_turn(
        self, pair: tuple[Journal, SessionStore], turns: Turns
    ) -> None:
        """The head of a session is the turn that was written last."""
        journal, store = pair
        session, group = turns[0].session, turns[0].group
        assert await store.head(group, session) is None, "a session was known before its turns"
        for turn in turns:
            await journal.append(turn)
            head = await store.head(group, session)
            assert head == turn.id, f"the newest turn is {turn.id}, head() says {head}"

    @law(turns=one_session())
    async def test_finds_a_conversation(
        self, pair: tuple[Journal, SessionStore], turns: Turns
    ) -> None:
        """A turn is found by the digest of its conversation, another group's is not."""
        journal, store = pair
        for turn in turns:
            await journal.append(turn)
        for turn in turns:
            found = await store.find(turn.group, turn.conversation)
            assert found == turn, f"sought {turn.id}, found {found!r}"
            assert await store.find(f"not-{turn.group}", turn.conversation) is None, (
                "another group's conversation was found"
            )
        assert await store.head(f"not-{turns[0].group}", turns[0].session) is None, (
            "another group's session was known"
        )

    @law(turns=one_session(), limit=st.integers(1, 12))
    async def test_tells_the_history(
        self, pair: tuple[Journal, SessionStore], turns: Turns, limit: int
    ) -> None:
        """The history is the newest messages through the turn, oldest first, `limit` at most; one
        that leaves some out may have a summary of them.
        """
        journal, store = pair
        said: list[Message] = []
        for turn in turns:
            await journal.append(turn)
            said += turn.messages
            history = await store.history(turn.group, turn.id, limit=limit)
            told = list(history.messages)
            assert len(told) <= limit, f"at most {limit} messages were asked for, {len(told)} came"
            assert told == said[len(said) - len(told) :], f"said was {said!r}, told {told!r}"
            assert len(told) == min(limit, len(said)) or history.summary, (
                f"of {len(said)} messages {len(told)} were told, and there is no summary"
            )
