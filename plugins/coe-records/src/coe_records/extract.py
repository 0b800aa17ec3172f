"""The extractive summarizer: the sentences that tell most of a conversation, as they were said."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from math import log, sqrt

from attrs import frozen

from coe_core.caller import estimate_tokens
from coe_core.message import Message
from coe_core.payer import Payer

SPEAKERS = ("user", "assistant")
SPEAKER = re.compile("^(user|assistant): ")
SENTENCE_END = re.compile(r"(?<=[.!?。\uff01\uff1f…])\s+|\n+")
PIECE = re.compile(r"\S.{0,238}\S(?=\s|$)|\S.{0,239}", re.DOTALL)
"""What of a sentence without an end is taken for one."""
WORD = re.compile(r"[^\W_]+")

OLD, WITH_NUMBER, SAID_BY_USER = 1.5, 1.5, 1.2
"""What a line counts for that a summary held before, that has a number, that the user said."""


@frozen
class Line:
    """A line that may stand in the summary."""

    place: int
    text: str
    terms: frozenset[str]
    worth: float
    tokens: int

    @classmethod
    def of(cls, place: int, text: str, worth: float) -> Line:
        """Look at a line, whoever said it."""
        said = SPEAKER.sub("", text)
        worth *= WITH_NUMBER if re.search(r"\d", said) else 1.0
        return cls(place, text, frozenset(_terms(said)), worth, estimate_tokens(text + "\n"))


@frozen
class ExtractiveSummarizer:
    """Chooses sentences by budgeted maximum coverage: over and over that which adds most weight of
    terms not yet covered for its length (Lin and Bilmes, "A Class of Submodular Functions for
    Document Summarization", ACL 2011). No model, no chance; cheap: a hundred messages take some
    milliseconds.
    """

    name: str = "extractive"

    async def summarize(
        self,
        previous: str | None,
        messages: Sequence[Message],
        *,
        limit_tokens: int,
        parent: Payer,
    ) -> str:
        return summary(previous, messages, limit_tokens)


def summary(previous: str | None, messages: Sequence[Message], limit_tokens: int) -> str:
    """Choose the lines, and put them in the order in which they were said."""
    lines = list(_lines(previous, messages))
    weights = _weights(lines)
    chosen: list[Line] = []
    covered: set[str] = set()
    left = limit_tokens

    def gain(line: Line) -> tuple[float, int]:
        return _gain(line, covered, weights), -line.place

    while fitting := [line for line in lines if line.tokens <= left and line.terms - covered]:
        best = max(fitting, key=gain)
        chosen.append(best)
        covered |= best.terms
        left -= best.tokens
    if lines and not chosen:
        return _cut(max(lines, key=gain).text, limit_tokens)
    return "\n".join(line.text for line in sorted(chosen, key=lambda line: line.place))


def _lines(previous: str | None, messages: Sequence[Message]) -> Iterator[Line]:
    place = 0
    for text in (previous or "").splitlines():
        if text.strip():
            yield Line.of(place, text, OLD)
            place += 1
    for message in messages:
        worth = SAID_BY_USER if message.role == "user" else 1.0
        for sentence in _sentences(message.text) if message.role in SPEAKERS else ():
            yield Line.of(place, f"{message.role}: {sentence}", worth)
            place += 1


def _sentences(text: str) -> Iterator[str]:
    for sentence in SENTENCE_END.split(text):
        for piece in PIECE.findall(sentence):
            yield " ".join(piece.split())


def _terms(text: str) -> Iterator[str]:
    """Yield the words; of one that is not ASCII its beginning, for what Korean appends to a noun
    says nothing about it.
    """
    for word in WORD.findall(text.casefold()):
        yield word if word.isascii() else word[:2]


def _weights(lines: Sequence[Line]) -> Mapping[str, float]:
    """Weigh terms: what is said in every line tells nothing, what is said once not much."""
    counts = Counter(term for line in lines for term in line.terms)
    return {term: sqrt(n) * log(1 + len(lines) / n) for term, n in counts.items()}


def _gain(line: Line, covered: AbstractSet[str], weights: Mapping[str, float]) -> float:
    # In one order, so that the sum is the same in every process.
    return line.worth * sum(weights[term] for term in sorted(line.terms - covered)) / line.tokens


def _cut(text: str, limit_tokens: int) -> str:
    while estimate_tokens(text) > limit_tokens:
        text = text[:-1]
    return text
