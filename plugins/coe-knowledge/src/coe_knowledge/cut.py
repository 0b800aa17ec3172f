"""Cutting: blocks into passages of a size that a model and an embedder can take."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence

from attrs import evolve

from coe_core.caller import estimate_tokens
from coe_core.knowledge import Document
from coe_core.turn import Passage, Place
from coe_knowledge.block import Block
from coe_knowledge.sentence import sentences

LETTERS_PER_TOKEN = 4
"""The most, as `estimate_tokens` has it."""


def cut(document: Document, blocks: Sequence[Block], *, limit_tokens: int) -> Sequence[Passage]:
    """Cut a document into passages, of at most `limit_tokens` as they are estimated.

    What stands under one heading, and on one page, is joined as far as that goes; what is longer
    alone is cut between sentences. A passage's id is made of its text and its document's id: where
    a document changes, the other passages remain what they were.
    """
    seen: Counter[str] = Counter()
    passages = []
    for position, block in enumerate(_joined(blocks, limit_tokens)):
        seen[block.text] += 1
        made_from = f"{document.id}\n{seen[block.text]}\n{block.text}"
        passages.append(
            Passage(
                id=f"psg_{hashlib.sha256(made_from.encode()).hexdigest()[:24]}",
                text=block.text,
                layer=document.layer,
                source=document.source,
                item=document.id,
                kind="document",
                title=document.title,
                language=document.language,
                position=position,
                place=block.place,
                valid_until=document.valid_until,
            )
        )
    return passages


def _joined(blocks: Sequence[Block], limit_tokens: int) -> Iterator[Block]:
    held: Block | None = None
    held_tokens = 0
    for piece in (piece for block in blocks for piece in _pieces(block, limit_tokens)):
        tokens = estimate_tokens(piece.text)
        fits = held_tokens + tokens < limit_tokens
        if held is not None and fits and _together(held.place, piece.place):
            held, held_tokens = _join(held, piece), held_tokens + tokens + 1
            continue
        if held is not None:
            yield held
        held, held_tokens = piece, tokens
    if held is not None:
        yield held


def _together(one: Place, other: Place) -> bool:
    return one.headings == other.headings and one.page == other.page


def _join(one: Block, other: Block) -> Block:
    place = evolve(one.place, last_line=other.place.last_line)
    return Block(text=f"{one.text}\n\n{other.text}", place=place)


def _pieces(block: Block, limit_tokens: int) -> Iterator[Block]:
    """Cut a block that is too long between its sentences, and a sentence where it must be."""
    if estimate_tokens(block.text) <= limit_tokens:
        yield block
        return
    parts = [part for each in sentences(block.text) for part in _short(each, limit_tokens)]
    line = block.place.first_line
    held = ""
    for part in [*parts, None]:
        if part is not None and estimate_tokens(held + part) <= limit_tokens:
            held += part
            continue
        last = None if line is None else line + held.rstrip("\n").count("\n")
        if held.strip():
            place = evolve(block.place, first_line=line, last_line=last)
            yield Block(text=held.strip("\n"), place=place)
        line = None if line is None else line + held.count("\n")
        held = part or ""


def _short(sentence: str, limit_tokens: int) -> Iterator[str]:
    """Cut a sentence that is too long behind a blank, or where there is none, anywhere."""
    most = LETTERS_PER_TOKEN * limit_tokens
    start = 0
    while estimate_tokens(window := sentence[start : start + most + 1]) > limit_tokens:
        end = _fitting(window, limit_tokens)
        blank = window.rfind(" ", end // 2, end)
        end = end if blank < 0 else blank + 1
        yield window[:end]
        start += end
    yield sentence[start:]


def _fitting(text: str, limit_tokens: int) -> int:
    """Return how many letters of a text make `limit_tokens`, one at least."""
    low, high = 1, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        if estimate_tokens(text[:middle]) <= limit_tokens:
            low = middle
        else:
            high = middle - 1
    return low
