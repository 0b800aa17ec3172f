"""Terms: what of a text is compared, so that another form of a word is still the same word.

English words are stemmed. Korean words lose their particles and are also taken in pairs of
syllables, which outlasts endings, compounds and missing blanks; other scripts without blanks are
taken in pairs alone. Numbers stay whole.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from functools import cache, lru_cache
from itertools import pairwise
from typing import Any, TypeAlias

from coe_retrieval.stopword import ENDINGS, STOP_WORDS

PIECES = re.compile(
    r"(?P<number>\d+(?:[.,:/-]\d+)*)"
    r"|(?P<hangul>[\uac00-\ud7a3]+)"
    r"|(?P<pairs>[\u3040-\u30ff\u3400-\u9fff]+)"
    r"|(?P<word>[^\W\d_]+)"
)
PAIR = 2

Reading: TypeAlias = Callable[[str], Sequence[str]]
"""How texts are taken apart, passages and questions alike: `terms`, or more than these."""


def terms(text: str) -> list[str]:
    """Take a text apart, in its order; the same term as often as it stands there.

    A text that consists of words that say nothing is its words; one of signs alone, itself.
    """
    plain = unicodedata.normalize("NFKC", text).casefold()
    found = [term for piece in PIECES.finditer(plain) for term in _terms(piece)]
    return found or re.findall(r"\w+", plain) or plain.split()


def _terms(piece: re.Match[str]) -> Iterator[str]:
    text = piece[0]
    match piece.lastgroup:
        case "word":
            if text not in STOP_WORDS:
                yield _stem(text)
        case "hangul":
            yield from _korean(text)
        case "pairs":
            yield from _pairs(text)
        case _:
            yield text


@lru_cache(maxsize=100_000)
def _stem(word: str) -> str:
    return str(_stemmer().stemWord(word))


@cache
def _stemmer() -> Any:
    import snowballstemmer  # type: ignore[import-untyped]

    return snowballstemmer.stemmer("english")


@lru_cache(maxsize=100_000)
def _korean(word: str) -> tuple[str, ...]:
    stem = bare(word)
    if stem in STOP_WORDS or stem in ENDINGS:
        return ()
    return (stem, *_pairs(stem)) if len(stem) > PAIR else (stem,)


def bare(word: str) -> str:
    """Cut off what may be a particle or an ending, unless less than two syllables would be left."""
    for ending in ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= PAIR:
            return word[: -len(ending)]
    return word


def _pairs(text: str) -> Iterator[str]:
    if len(text) == 1:
        yield text
    yield from (first + second for first, second in pairwise(text))
