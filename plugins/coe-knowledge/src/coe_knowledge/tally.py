"""The tally: how often cards were used in answers, and whether those helped.

It is folded from the log: a card is used by an answer that cites it, and has helped or hurt where
somebody rated that answer well or badly. Of what one person says of a turn the rating that was
given last holds, in whatever order they are read. To fold a record twice changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from functools import partial
from operator import itemgetter
from typing import TYPE_CHECKING, Any, TypeAlias

from attrs import evolve, field, frozen

from coe_core.card import CARD_KINDS, Card
from coe_core.codec import decode, encode, rfc3339, structure, unstructure
from coe_core.error import Conflict
from coe_core.message import Json
from coe_core.record import Feedback, Interaction, Record
from coe_core.service import EVERY_GROUP, Database, RecordReader
from coe_knowledge.layer import group_of
from coe_knowledge.quality import quality

if TYPE_CHECKING:
    from sqlalchemy import Connection

UNTOLD = (
    *("options", "headers", "route", "params", "prompts"),
    *("attempts", "exchange", "tool_runs", "answer", "exposures", "verdicts"),
)
"""Fields of a turn's record that say nothing of cards."""
AT_ONCE = 500
"""How many ids a statement names."""


Rater: TypeAlias = tuple[str, str, str]
"""A turn, the group that speaks of it, and who of that group."""


@frozen(kw_only=True)
class Facts:
    """What a stretch of the log says of cards."""

    uses: Mapping[str, tuple[str, frozenset[str]]] = field(factory=dict)
    """Turn to its group and the cards that its answer cites."""
    ratings: Mapping[Rater, Feedback] = field(factory=dict)
    """The rating that each gave last."""


@frozen
class CardTally:
    """A `Job`: brings the counters of cards level with the log."""

    database: Database
    reader: RecordReader
    every: timedelta = timedelta(seconds=30)
    name: str = "card-tally"

    async def run(self) -> Json:
        """Fold what was recorded since the last round."""
        cursor = await self.database.read(None, _cursor)
        changed = 0
        try:
            async for stretch in self.reader.follow(cursor, without=UNTOLD):
                fold = partial(_fold, facts=facts(stretch.records), cursor=stretch.cursor)
                changed += await self.database.write(fold)
        except Conflict:  # Another log than before: a backup was restored.
            await self.database.write(_begin_again)
        return {"cards": changed}


def facts(records: Iterable[Record]) -> Facts:
    """Read what records say of cards."""
    uses: dict[str, tuple[str, frozenset[str]]] = {}
    ratings: dict[Rater, Feedback] = {}
    for record in records:
        match record:
            case Interaction(id=id_, group=group, passages=shown, passages_used=used):
                cards = frozenset(p.id for p in shown if p.kind in CARD_KINDS and p.id in used)
                if cards:
                    uses[id_] = group, cards
            case Feedback(turn_id=id_, group=group, actor=actor, rating=int()):
                by = id_, group, actor
                ratings[by] = max(ratings.get(by, record), record, key=_given)
            case _:
                pass
    return Facts(uses=uses, ratings=ratings)


def _given(said: Feedback) -> tuple[str, str]:
    """Tell when something was said, as text that sorts; of one moment the ids decide."""
    return rfc3339(said.at), said.id


def _cursor(connection: Connection) -> str:
    import sqlalchemy as sa

    from coe_knowledge.table import tally

    return str(connection.execute(sa.select(tally.c.cursor)).scalar_one())


def _move(connection: Connection, cursor: str) -> None:
    import sqlalchemy as sa

    from coe_knowledge.table import tally

    connection.execute(sa.update(tally).values(cursor=cursor))


def _begin_again(connection: Connection) -> None:
    """Forget what was counted: the log that is there may not have it."""
    import sqlalchemy as sa

    from coe_knowledge.table import items, last_change, ratings, uses

    last_change(connection)
    query = sa.select(items.c.body).where(items.c.id.in_(sa.select(uses.c.card_id)))
    for body in connection.execute(query).scalars().all():
        card: Card = structure(decode(body), Card)
        forgotten = evolve(card, used=0, feedback_count=0, helped=0, hurt=0, quality_score=None)
        _write(connection, forgotten)
    connection.execute(sa.delete(uses))
    connection.execute(sa.delete(ratings))
    _move(connection, "")


def _fold(connection: Connection, facts: Facts, cursor: str) -> int:
    """Write down the facts, count anew what they concern, and return how many cards that were."""
    from coe_knowledge.table import last_change, ratings, uses

    last_change(connection)  # A card that somebody else writes is read once that is done.
    used = [
        {"turn_id": turn, "card_id": card, "group_name": group}
        for turn, (group, cards) in facts.uses.items()
        for card in sorted(cards)
    ]
    turns = list(dict.fromkeys(turn for turn, _, _ in facts.ratings))
    said = _standing(connection, turns)
    for by, feedback in facts.ratings.items():
        new = {"rating": feedback.rating, "at": rfc3339(feedback.at), "feedback_id": feedback.id}
        said[by] = max(said.get(by, new), new, key=itemgetter("at", "feedback_id"))
    rated = [
        {"turn_id": turn, "group_name": group, "actor": actor} | rating
        for (turn, group, actor), rating in said.items()
    ]
    _replace(connection, uses, used)
    _replace(connection, ratings, rated)
    touched = {row["card_id"] for row in used} | _cards_of(connection, turns)
    changed = sum(_count(connection, card) for card in sorted(touched))
    _move(connection, cursor)
    return changed


def _replace(connection: Connection, table: Any, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write the rows of some turns in the place of what was there of these turns."""
    import sqlalchemy as sa

    for turns in _some(dict.fromkeys(row["turn_id"] for row in rows)):
        connection.execute(sa.delete(table).where(table.c.turn_id.in_(turns)))
    if rows:
        connection.execute(sa.insert(table), rows)


def _standing(connection: Connection, turns: Sequence[str]) -> dict[Rater, dict[str, Any]]:
    """Return what is known of the ratings of some turns."""
    import sqlalchemy as sa

    from coe_knowledge.table import ratings

    found: dict[Rater, dict[str, Any]] = {}
    for some in _some(turns):
        query = sa.select(ratings).where(ratings.c.turn_id.in_(some))
        for row in connection.execute(query):
            told = {"rating": row.rating, "at": row.at, "feedback_id": row.feedback_id}
            found[row.turn_id, row.group_name, row.actor] = told
    return found


def _cards_of(connection: Connection, turns: Sequence[str]) -> set[str]:
    import sqlalchemy as sa

    from coe_knowledge.table import uses

    found: set[str] = set()
    for some in _some(turns):
        query = sa.select(uses.c.card_id).where(uses.c.turn_id.in_(some))
        found.update(connection.execute(query).scalars())
    return found


def counted(connection: Connection, card: Card) -> Card:
    """Count a card's uses by those who see it; one that nobody used is returned as it is."""
    import sqlalchemy as sa

    from coe_knowledge.table import ratings, uses

    same_turn = (ratings.c.turn_id == uses.c.turn_id) & (ratings.c.group_name == uses.c.group_name)
    query = (
        sa.select(
            sa.func.count(sa.distinct(uses.c.turn_id)),
            sa.func.count(ratings.c.rating),
            sa.func.coalesce(sa.func.sum(sa.case((ratings.c.rating > 0, 1), else_=0)), 0),
            sa.func.coalesce(sa.func.sum(sa.case((ratings.c.rating < 0, 1), else_=0)), 0),
        )
        .select_from(uses.outerjoin(ratings, same_turn))
        .where(uses.c.card_id == card.id)
    )
    if (group := group_of(card.layer)) != EVERY_GROUP:
        query = query.where(uses.c.group_name == group)
    used, rated, helped, hurt = connection.execute(query).one()
    if not used:
        return card
    helped, hurt = int(helped), int(hurt)
    score = quality(rated, helped, hurt)
    return evolve(
        card, used=used, feedback_count=rated, helped=helped, hurt=hurt, quality_score=score
    )


def _count(connection: Connection, card_id: str) -> bool:
    """Bring a card's counters up to date; tell whether there is such a card."""
    import sqlalchemy as sa

    from coe_knowledge.table import items

    body = connection.execute(sa.select(items.c.body).where(items.c.id == card_id)).scalar()
    if body is None:
        return False
    _write(connection, counted(connection, structure(decode(body), Card)))
    return True


def _write(connection: Connection, card: Card) -> None:
    import sqlalchemy as sa

    from coe_knowledge.table import items

    body = encode(unstructure(card)).decode()
    connection.execute(sa.update(items).where(items.c.id == card.id).values(body=body))


def _some(ids: Iterable[str]) -> Iterator[Sequence[str]]:
    every = list(ids)
    for at in range(0, len(every), AT_ONCE):
        yield every[at : at + AT_ONCE]
