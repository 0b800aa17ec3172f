"""Periods: when an earlier turn was said, where a question asks about a day, a month or a year."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any, Self

from attrs import define, field, frozen

from coe_retrieval.array import Scores

ELSEWHEN = 0.7
"""What is left of a turn's score that was said outside the period that the question names. People
also speak of what was long ago, so that it is not left out; `bench/retrieval.py` finds .5 to .8
alike.
"""
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
NAMED = re.compile(
    r"\b(?P<iso_year>(?:19|20)\d\d)[-/.] ?(?P<iso_month>\d\d?)(?:[-/.] ?(?P<iso_day>\d\d?))?(?!\d)"
    r"|(?:(?P<ko_year>(?:19|20)\d\d)년 *)?(?P<ko_month>\d\d?)월(?: *(?P<ko_day>\d\d?)일)?"
    r"|(?P<year_alone>(?:19|20)\d\d)년"
    r"|\b(?:in|during|since) (?P<in_year>(?:19|20)\d\d)\b"
    # "May I" and "march" are no months: these two are, in capitals, behind another word.
    r"|(?:\b(?P<day>\d\d?)(?:st|nd|rd|th)?(?: of)? )?\b"
    r"(?P<month>(?i:jan(?:uary)?|feb(?:ruary)?|apr(?:il)?|june?|july?|aug(?:ust)?|sept?(?:ember)?"
    r"|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)|(?<=\S )(?:Mar(?:ch)?|May))\b"
    r"(?:\.? (?P<day_behind>\d\d?)(?:st|nd|rd|th)?\b(?! *:))?(?:,? (?P<year>(?:19|20)\d\d)\b)?"
)


@frozen
class Period:
    """A day, a month or a year; what is None is any."""

    year: int | None = None
    month: int | None = None
    day: int | None = None

    @classmethod
    def named(cls, text: str) -> Self | None:
        """Return the period that a text names; None where it names none, or several."""
        found = set(cls._all(text))
        return found.pop() if len(found) == 1 else None

    @classmethod
    def _all(cls, text: str) -> Iterator[Self]:
        for match in NAMED.finditer(text):
            period = cls(*(_number(match, part) for part in ("year", "month", "day")))
            if (period.month or 1) in range(1, 13) and (period.day or 1) in range(1, 32):
                yield period

    def has(self, day: date) -> bool:
        """Whether a day, of UTC, belongs to it; of two days that are one elsewhere, both do."""
        reach = 1 if self.day is not None else 0
        near = (day + timedelta(days=off) for off in range(-reach, reach + 1))
        return any(self._is(each) for each in near)

    def _is(self, day: date) -> bool:
        asked = ((self.year, day.year), (self.month, day.month), (self.day, day.day))
        return all(wanted in (None, own) for wanted, own in asked)


@define(eq=False)
class Calendar:
    """The numbers of turns, by the day on which they were said."""

    _turns: dict[date, list[int]] = field(factory=dict, init=False)

    def add(self, day: date, number: int) -> None:
        """Note when a turn was said."""
        self._turns.setdefault(day, []).append(number)

    def favour(self, scores: Scores, period: Period | None) -> Scores:
        """Lower the scores of what was said outside a period, if anything was said in it."""
        within = [turns for day, turns in self._turns.items() if period and period.has(day)]
        if not within:
            return scores
        import numpy as np

        numbers = np.concatenate(within)
        lowered: Any = scores * np.float32(ELSEWHEN)
        lowered[numbers] = scores[numbers]
        return np.asarray(lowered, np.float32)


def _number(match: re.Match[str], part: str) -> int | None:
    """Return the part of a date, whichever group has it."""
    said = next((text for name, text in match.groupdict().items() if text and part in name), None)
    if said is None:
        return None
    return int(said) if said.isdigit() else MONTHS.index(said[:3].lower()) + 1
