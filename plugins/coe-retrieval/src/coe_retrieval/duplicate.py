"""Near duplicates: passages that say the same in almost the same words.

They are found by MinHash and linked, never merged: each stays what it is, and a search shows one of
them. Texts that differ in a number, a negation or a name say different things, however alike.
"""

from __future__ import annotations

import re
from itertools import islice
from typing import Any

from attrs import define, field, frozen

PERMUTATIONS, BANDS, SEED = 64, 16, 1
ALIKE = 0.7
"""From which share of common shingles on two texts are near duplicates."""
SHINGLE = 3
"""In words; Korean endings make words of syllables, which is why it is not more."""

NUMBER = re.compile(
    r"\d+(?:[.,:/-]\d+)*"
    r"|\b(?:one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|\w+teen|\w+ty|hundred"
    r"|thousand|million|half|dozen|once|twice|first|second|third|\w+th)\b"
    r"|하루|이틀|사흘|나흘|닷새|엿새|이레|열흘|보름|절반"
    r"|(?:첫|둘|셋|넷|다섯|여섯|일곱|여덟|아홉|열)째"
    r"|\b(?:한|두|세|네|다섯|여섯|일곱|여덟|아홉|열|스무|서른|마흔|쉰)(?= \w)"
    r"|[일이삼사오육칠팔구십백천만]+(?= ?(?:층|일|월|년|회|번|명|개|원|시|분|주|급|호|배|퍼센트))",
    re.IGNORECASE,
)
"""Written in digits or in words; of what only looks like one, two texts alike have the same."""
NEGATION = re.compile(
    r"\b(?:not|no|never|none|without|cannot|except|unless|neither|nor)\b|n't\b"
    r"|않|없|못|아니|아닌|금지|불가|제외|미만|말[고아]",
    re.IGNORECASE,
)
NAME = re.compile(r"(?<=[^.!?\s] )[A-Z][\w-]*|[A-Z]{2,}[\w-]*")


@frozen
class Claims:
    """What of a text must agree, or it says something else."""

    numbers: tuple[str, ...]
    negations: tuple[str, ...]
    names: tuple[str, ...]

    @classmethod
    def of(cls, text: str) -> Claims:
        """Read them, each kind in an order of its own: sentences may stand elsewhere."""
        found = (
            tuple(sorted(match.casefold() for match in kind.findall(text)))
            for kind in (NUMBER, NEGATION, NAME)
        )
        return cls(*found)


def shingles(text: str) -> set[str]:
    """Return the runs of words of a text, or for a short one the words."""
    words = re.findall(r"\w+", text.casefold())
    runs = zip(*(islice(words, at, None) for at in range(SHINGLE)), strict=False)
    return {" ".join(run) for run in runs} or set(words)


def alike(first: str, second: str) -> bool:
    """Compare two texts exactly."""
    if Claims.of(first) != Claims.of(second):
        return False
    ours, theirs = shingles(first), shingles(second)
    return bool(ours) and len(ours & theirs) >= ALIKE * len(ours | theirs)


@define(eq=False)
class Duplicates:
    """Links each text to the first that it is a near duplicate of."""

    _lsh: Any = field(default=None, init=False)
    _texts: dict[int, str] = field(factory=dict, init=False)
    _first: dict[int, int] = field(factory=dict, init=False)

    def add(self, number: int, text: str) -> None:
        """Take in a text."""
        from rensa import RMinHash, RMinHashLSH  # type: ignore[import-untyped]

        if self._lsh is None:
            self._lsh = RMinHashLSH(ALIKE, PERMUTATIONS, BANDS)
        sketch = RMinHash(PERMUTATIONS, SEED)
        sketch.update(sorted(shingles(text)))
        near = [n for n in self._lsh.query(sketch) if n in self._texts]
        same = next((n for n in near if alike(text, self._texts[n])), None)
        self._lsh.insert(number, sketch)
        self._texts[number] = text
        if same is not None:
            self._first[number] = self.first(same)

    def remove(self, number: int) -> None:
        """Forget a text; what was linked to it is linked to each other still."""
        self._texts.pop(number, None)

    def first(self, number: int) -> int:
        """Return the first of the text's near duplicates, which may be itself."""
        return self._first.get(number, number)
