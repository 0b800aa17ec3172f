"""Speakers: who said an earlier turn, where a question asks what somebody said or did."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from attrs import define, field

from coe_retrieval.array import Scores
from coe_retrieval.term import terms

NAMED = 0.02
"""What it adds to a turn's score to be said by the one whom the question names. Words are read over
neighbours, so that the answer to somebody has the name as well: this is what tells them apart.
`bench/retrieval.py` finds .01 to .04 alike.
"""


@define(eq=False)
class Speakers:
    """The numbers of turns, by who said them."""

    _turns: dict[frozenset[str], list[int]] = field(factory=dict, init=False)
    """The terms of a name to the turns."""

    def add(self, name: str, number: int) -> None:
        """Note who said a turn; "" for nobody in particular."""
        if name:
            self._turns.setdefault(frozenset(terms(name)), []).append(number)

    def favour(self, scores: Scores, asked: Sequence[str]) -> Scores:
        """Raise the scores of what the one said whom a question of these terms names; of several,
        nobody's.
        """
        words = set(asked)
        named = [turns for name, turns in self._turns.items() if name <= words]
        if len(named) != 1:
            return scores
        raised: Any = scores.copy()
        raised[named[0]] += NAMED
        return np.asarray(np.minimum(raised, 1.0), np.float32)
