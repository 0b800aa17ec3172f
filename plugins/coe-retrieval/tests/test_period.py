"""What was said when a question names comes before what was said at other times."""

from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest
from coe_retrieval.period import ELSEWHEN, Calendar, Period
from coe_retrieval.question import Question
from coe_retrieval.shelf import Shelf
from coe_retrieval.shelves import Shelves
from hypothesis import given
from hypothesis import strategies as st

from coe_core.identity import TurnId
from coe_core.message import user
from coe_core.testing import make_interaction
from coe_core.turn import Passage

DAYS = [date(2025, 8, 13), date(2026, 8, 31), date(2026, 10, 13)]


@pytest.mark.parametrize(
    ("question", "period"),
    [
        ("When did we go camping in june?", Period(month=6)),
        ("What was decided in August 2026?", Period(2026, 8)),
        ("Which painting was shown on October 13, 2026?", Period(2026, 10, 13)),
        ("What was found on 1 February, 2026?", Period(2026, 2, 1)),
        ("on the 3rd of March", Period(None, 3, 3)),
        ("August 13, what was decided?", Period(None, 8, 13)),
        ("June 2026: decisions", Period(2026, 6)),
        ("March on, 2026 of you", None),
        ("What happened in 2025?", Period(2025)),
        ("8월에 뭐라고 했지?", Period(month=8)),
        ("2026년 8월 13일 회의", Period(2026, 8, 13)),
        ("2026년에 정한 것", Period(2026)),
        ("2026-10-13에 나온 이야기", Period(2026, 10, 13)),
        ("2026. 10. 13. 회의록", Period(2026, 10, 13)),
        ("May I march on?", None),
        ("3개월 동안 무엇을 했나", None),
        ("20월", None),
        ("between June and July", None),
        ("from 8월 to August", Period(month=8)),
        ("version 2.10 of 2026 items", None),
    ],
)
def test_a_period_is_read_where_one_is_named(question: str, period: Period | None) -> None:
    assert Period.named(question) == period
    assert Question.read(question).period == period


@given(st.dates(date(1900, 1, 1), date(2099, 12, 31)))
def test_a_day_is_read_as_it_is_written_in_both_languages(day: date) -> None:
    written = Period(day.year, day.month, day.day)
    for text in (
        day.isoformat(),
        f"{day.year}년 {day.month}월 {day.day}일",
        f"on {day:%B} {day.day}, {day.year}",
        f"on {day.day} {day:%b} {day.year}",
    ):
        assert Period.named(text) == written
    assert written.has(day)


@pytest.mark.parametrize(
    ("period", "within"),
    [
        (Period(month=8), [0, 1]),
        (Period(2026), [1, 2]),
        (Period(2026, 10, 13), [2]),
        (Period(2026, 9, 1), [1]),  # It was that day elsewhere.
        (Period(month=5), [0, 1, 2]),  # Nothing was said then.
        (None, [0, 1, 2]),
    ],
)
def test_what_was_said_at_other_times_counts_less(period: Period | None, within: list[int]) -> None:
    calendar = Calendar()
    for number, day in enumerate(DAYS):
        calendar.add(day, number)
    before = np.full(len(DAYS), 0.5, np.float32)
    expected = [0.5 if number in within else 0.5 * ELSEWHEN for number in range(len(DAYS))]
    assert calendar.favour(before, period).tolist() == pytest.approx(expected)
    assert before.tolist() == [0.5] * len(DAYS)


def test_a_shelf_of_turns_knows_when_they_were_said() -> None:
    shelf = Shelf(of_turns=True)
    for number, day in enumerate(DAYS):
        passage = Passage(
            id=f"{number}", text="캠핑 갔던 이야기", layer="global", source="s", kind="turn"
        )
        shelf.put(passage, on=day)
    for text, first in (("10월 캠핑", "2"), ("2026년 8월 캠핑", "1"), ("캠핑", "0")):
        assert next(iter(shelf.search(Question.read(text), lambda _: True))).id == first


def test_turns_of_a_day_are_kept_together() -> None:
    shelves, began = Shelves(), datetime(2026, 8, 13, 9, tzinfo=UTC)
    for n in range(3):
        at, said = began + timedelta(minutes=n), (user("캠핑 갔던 이야기"),)
        turn = make_interaction(id=TurnId(f"trn_{n}"), started_at=at, new_messages=said)
        shelves.record([turn], f"{n}")
    (shelf,) = shelves.by_name.values()
    assert [*shelf._calendar._turns] == [began.date()]
