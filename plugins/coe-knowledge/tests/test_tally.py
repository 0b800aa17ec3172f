"""Cards are counted: used where answers cite them, helped or hurt where these were rated."""

import asyncio
import threading
from collections.abc import AsyncIterator, Collection
from datetime import UTC, datetime, timedelta
from itertools import count, permutations
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve, frozen
from coe_knowledge.quality import quality
from coe_knowledge.tally import CardTally

from coe_core import Application, Card, Database, Journal, KnowledgeStore
from coe_core.card import CARD_KINDS, CardKind
from coe_core.error import Conflict
from coe_core.identity import TurnId, uuid7
from coe_core.record import Feedback, Record
from coe_core.service import RecordReader, Stretch
from coe_core.testing import JobContract, make_interaction
from coe_core.testing.postgres import new_schema
from coe_core.turn import GLOBAL, Passage

from .conftest import Open

AT = datetime(2026, 11, 27, tzinfo=UTC)
SECONDS = count()


def tally_of(application: Application) -> CardTally:
    return CardTally(application.need(Database), application.need(RecordReader))


class TestCardTally(JobContract):
    examples = 3

    @pytest.fixture(autouse=True)
    def folder(self, opened: Open) -> None:
        self.opened = opened

    async def make(self) -> AsyncIterator[CardTally]:
        async with self.opened() as application:
            await put(application, "card-1", GLOBAL)
            await rate(application, await answer(application, "law", "card-1"), "law", 1)
            yield tally_of(application)


async def put(application: Application, id_: str, layer: str) -> None:
    card = Card(id=id_, layer=layer, kind="fact", text="It is so.", state="active")
    await application.need(KnowledgeStore).put_card(card)


async def answer(
    application: Application, group: str, *shown: str, cites: int = 100, kind: str = "fact"
) -> TurnId:
    """Record a turn that was shown some passages and cites the first of them."""
    turn = TurnId(uuid7())
    passages = [
        Passage(id=id_, text="It is so.", layer=GLOBAL, source="a card", item=id_, kind=kind)
        for id_ in shown
    ]
    interaction = make_interaction(
        id=turn,
        group=group,
        started_at=AT,
        passages=tuple(passages),
        passages_used=shown[:cites],
    )
    await application.need(Journal).append(interaction)
    return turn


def rated(turn: TurnId, group: str, rating: int | None, actor: str = "kim") -> Feedback:
    """Make a rating that is given later than those before."""
    at = AT + timedelta(seconds=next(SECONDS))
    return Feedback(
        id=uuid7(), turn_id=turn, group=group, rating=rating, text="x", actor=actor, at=at
    )


async def rate(
    application: Application, turn: TurnId, group: str, rating: int | None, actor: str = "kim"
) -> None:
    await application.need(Journal).append(rated(turn, group, rating, actor))


async def counted(application: Application, id_: str) -> tuple[int, int, int, int]:
    """Count, and return used, rated, helped and hurt."""
    await tally_of(application).run()
    card = await application.need(KnowledgeStore).item([GLOBAL, "group:law"], id_)
    assert isinstance(card, Card)
    assert card.quality_score == quality(card.feedback_count, card.helped, card.hurt)
    return card.used, card.feedback_count, card.helped, card.hurt


async def test_a_card_is_used_where_it_is_cited(application: Application) -> None:
    for id_ in ("card-1", "card-2"):
        await put(application, id_, GLOBAL)
    await answer(application, "law", "card-1", "card-2", cites=1)
    await answer(application, "sales", "card-1")
    assert await counted(application, "card-1") == (2, 0, 0, 0)
    assert await counted(application, "card-2") == (0, 0, 0, 0)


async def test_the_last_rating_of_an_answer_counts(application: Application) -> None:
    await put(application, "card-1", GLOBAL)
    first, second = [await answer(application, "law", "card-1") for _ in range(2)]
    await rate(application, first, "law", 1)
    await rate(application, second, "law", -1)
    assert await counted(application, "card-1") == (2, 2, 1, 1)
    await rate(application, second, "law", 1)
    await rate(application, first, "law", 0)
    await rate(application, first, "law", None)  # Says something, and rates nothing.
    assert await counted(application, "card-1") == (2, 2, 1, 0)


@pytest.mark.parametrize("kind", CARD_KINDS)
async def test_every_kind_of_card_is_counted(application: Application, kind: CardKind) -> None:
    """By the passage that is shown of it, as the store makes it."""
    store = application.need(KnowledgeStore)
    await store.put_card(Card(id="c", layer=GLOBAL, kind=kind, text="So.", state="active"))
    (passage,) = await store.passages([GLOBAL], ["c"])
    turn = await answer(application, "law", "c", kind=passage.kind)
    await rate(application, turn, "law", 1)
    assert await counted(application, "c") == (1, 1, 1, 0)


@pytest.mark.parametrize("apart", [True, False])
async def test_each_who_rates_an_answer_counts(application: Application, *, apart: bool) -> None:
    await put(application, "card-1", GLOBAL)
    turn = await answer(application, "law", "card-1")
    for actor, rating in (("kim", 1), ("lee", -1), ("park", 0), ("kim", -1), ("lee", 1)):
        await rate(application, turn, "law", rating, actor)
        if apart:
            await tally_of(application).run()
    assert await counted(application, "card-1") == (1, 3, 1, 1)


@pytest.mark.parametrize("apart", [True, False])
async def test_what_another_group_says_of_a_turn_takes_nothing_away(
    application: Application, *, apart: bool
) -> None:
    await put(application, "card-1", "group:law")
    turn = await answer(application, "law", "card-1")
    for group, rating in (("law", 1), ("sales", -1)):
        await rate(application, turn, group, rating)
        if apart:
            await tally_of(application).run()
    assert await counted(application, "card-1") == (1, 1, 1, 0)


@pytest.mark.parametrize("apart", [True, False])
async def test_the_last_rating_is_the_last_given_in_whatever_order_they_are_read(
    application: Application, *, apart: bool
) -> None:
    await put(application, "card-1", GLOBAL)
    said = []
    for order in permutations(range(4)):
        turn = await answer(application, "law", "card-1")
        good, neither, bad = (rated(turn, "law", rating) for rating in (1, 0, -1))
        last = evolve(bad, id=f"{bad.id}x", rating=1)  # At the same moment: the ids decide.
        said.append([[good, neither, bad, last][number] for number in order])
    for ratings in zip(*said, strict=True):
        for rating in ratings:
            await application.need(Journal).append(rating)
        if apart:
            await tally_of(application).run()
    assert await counted(application, "card-1") == (24, 24, 24, 0)


async def test_the_log_read_again_changes_nothing(application: Application) -> None:
    import sqlalchemy as sa
    from coe_knowledge.table import tally

    await put(application, "card-1", GLOBAL)
    await rate(application, await answer(application, "law", "card-1"), "law", 1)
    assert await counted(application, "card-1") == (1, 1, 1, 0)
    await application.need(Database).write(lambda c: c.execute(sa.update(tally).values(cursor="")))
    assert await counted(application, "card-1") == (1, 1, 1, 0)


@frozen
class RestoredLog:
    """What a backup had of a log."""

    records: tuple[Record, ...]

    async def follow(
        self, cursor: str = "", *, without: Collection[str] = ()
    ) -> AsyncIterator[Stretch]:
        if cursor:
            raise Conflict("the cursor is of another log")
        yield Stretch(records=self.records, cursor="1")


async def test_what_a_restored_log_no_longer_has_is_no_longer_counted(
    application: Application,
) -> None:
    store, reader = application.need(KnowledgeStore), application.need(RecordReader)
    for id_ in ("card-1", "card-2"):
        await put(application, id_, GLOBAL)
    kept = await answer(application, "law", "card-1")
    for turn in (kept, await answer(application, "law", "card-1", "card-2")):
        await rate(application, turn, "law", 1)
    assert await counted(application, "card-1") == (2, 2, 2, 0)
    assert await counted(application, "card-2") == (1, 1, 1, 0)
    interaction = await reader.interaction("law", kept)
    assert interaction is not None
    restored: Any = RestoredLog((interaction,))
    tally = CardTally(application.need(Database), restored)
    for used in (0, 1):
        await tally.run()
        cards = [await store.item([GLOBAL], id_) for id_ in ("card-1", "card-2")]
        told = [(c.used, c.helped, c.quality_score) for c in cards if isinstance(c, Card)]
        assert told == [(used, 0, None), (0, 0, None)]


async def test_what_an_older_version_kept_is_counted_anew(application: Application) -> None:
    import sqlalchemy as sa
    from coe_knowledge.store import SqlKnowledgeStore

    database = application.need(Database)
    await put(application, "card-1", GLOBAL)
    turn = await answer(application, "law", "card-1")
    await rate(application, turn, "law", 1)
    await rate(application, turn, "law", -1, "lee")
    assert await counted(application, "card-1") == (1, 2, 1, 1)

    def as_it_was(connection: sa.Connection) -> None:
        for statement in (
            "DROP TABLE knowledge_ratings",
            "CREATE TABLE knowledge_ratings (turn_id VARCHAR PRIMARY KEY, rating INTEGER)",
            "UPDATE knowledge_version SET version_num = '0002'",
        ):
            connection.execute(sa.text(statement))

    await database.write(as_it_was)
    await SqlKnowledgeStore(database).open()
    assert await counted(application, "card-1") == (1, 2, 1, 1)


async def test_a_group_counts_its_own_cards_alone(application: Application) -> None:
    await put(application, "card-1", "group:law")
    stranger = await answer(application, "sales", "card-1")
    await rate(application, stranger, "sales", 1)
    own = await answer(application, "law", "card-1")
    await rate(application, own, "sales", -1)  # Of another group's turn: of nothing.
    assert await counted(application, "card-1") == (1, 0, 0, 0)


async def test_what_is_no_card_and_what_is_gone_is_passed_over(application: Application) -> None:
    await answer(application, "law", "card-1", kind="document")
    await put(application, "card-1", GLOBAL)
    await answer(application, "law", "gone")
    assert await counted(application, "card-1") == (0, 0, 0, 0)


async def test_a_card_that_is_removed_and_added_again_has_the_uses_it_had(
    application: Application,
) -> None:
    store = application.need(KnowledgeStore)
    await put(application, "card-1", "group:law")
    await rate(application, await answer(application, "law", "card-1"), "law", 1)
    await answer(application, "sales", "card-1")
    assert await counted(application, "card-1") == (1, 1, 1, 0)
    await store.remove(["group:law"], "card-1")
    await put(application, "card-1", "group:law")
    card = await store.item(["group:law"], "card-1")
    assert isinstance(card, Card)
    assert (card.used, card.feedback_count, card.helped, card.hurt) == (1, 1, 1, 0)
    assert card.quality_score == 2 / 3
    await answer(application, "law", "card-1")
    assert await counted(application, "card-1") == (2, 1, 1, 0)


async def test_counting_is_no_change_to_who_follows(application: Application) -> None:
    store = application.need(KnowledgeStore)
    await put(application, "card-1", GLOBAL)
    cursor = [changes.cursor async for changes in store.follow()][-1]
    await answer(application, "law", "card-1")
    assert await counted(application, "card-1") == (1, 0, 0, 0)
    assert [changes async for changes in store.follow(cursor)] == []


async def test_a_card_that_is_written_meanwhile_is_counted_as_it_becomes(
    opened: Open, postgres_url: str, tmp_path: Path
) -> None:
    import sqlalchemy as sa
    from coe_knowledge.store import _Writing

    (address := tmp_path / "address").write_text(new_schema(postgres_url))
    async with opened(f'[plugins.records]\ndatabase = "file:{address}"') as application:
        database = application.need(Database)
        await put(application, "card-1", GLOBAL)
        await answer(application, "law", "card-1")
        card = await application.need(KnowledgeStore).item([GLOBAL], "card-1")
        assert isinstance(card, Card)
        written, waits = asyncio.Event(), threading.Event()
        loop = asyncio.get_running_loop()

        def write(connection: sa.Connection) -> None:
            _Writing(connection).put_card(evolve(card, state="held"))
            loop.call_soon_threadsafe(written.set)
            waits.wait()

        writing = asyncio.create_task(database.write(write))
        await written.wait()
        counting = asyncio.create_task(tally_of(application).run())
        blocked = sa.text("SELECT count(*) FROM pg_locks WHERE NOT granted")
        try:
            while not await database.read(None, lambda c: c.execute(blocked).scalar_one()):
                assert not counting.done()
        finally:
            waits.set()
        await asyncio.gather(writing, counting)
        kept = await application.need(KnowledgeStore).item([GLOBAL], "card-1")
        assert kept == evolve(card, state="held", used=1)
