"""A bit that changed outside a line's body: found again by the head that the chain has for it.

No row need know the line: the next line's `prev` is its head, or the mark behind the last one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256
from itertools import chain, pairwise

from coe_records.envelope import Damaged, header_of, parse
from coe_records.log import Entry, Log
from coe_records.projection import Mark

HEADER_BYTES = 512
"""More than any header has."""
_BODY_BYTES = len(b',"body":')
_END = b"}\n"
_BEGIN = b'{"kind":"'


def changed_bits(
    log: Log, marks: Mapping[str, Mark], segments: Iterable[str]
) -> Iterator[tuple[str, int]]:
    """Yield segment and bit, counted from the segment's first, of what is to be turned back."""
    for segment in segments:
        for entry, after in pairwise(chain(log.entries(segment), [None])):
            bit = _changed_bit(entry, after, marks.get(segment)) if entry else None
            if entry is not None and bit is not None:
                yield segment, 8 * entry.pointer.offset + bit


def _changed_bit(entry: Entry, after: Entry | None, mark: Mark | None) -> int | None:
    if after is not None:
        head = after.line.prev if after.line else None
    else:
        head = mark.head if mark else None
    if entry.line is not None and entry.line.head == head:
        return None
    return changed_header_bit(entry.raw, head) if head else None


def changed_header_bit(raw: bytes, head: str) -> int | None:
    """Tell which bit, outside the body, must be turned for the bytes to be the line that has this
    head, or two lines of which the second has it: the newline between them may have changed.
    """
    for bit in _candidates(raw, head):
        changed = bytearray(raw)
        changed[bit // 8] ^= 1 << bit % 8
        try:
            first, *second = map(parse, bytes(changed).splitlines(keepends=True))
        except Damaged:
            continue
        if (first.head, head) in {(head, head), *((line.prev, line.head) for line in second)}:
            return bit
    return None


def _candidates(raw: bytes, head: str) -> Iterator[int]:
    begin = bytearray(raw[:HEADER_BYTES])
    for bit in range(8 * len(begin)):
        begin[bit // 8] ^= 1 << bit % 8
        header = header_of(begin)
        if header is not None and sha256(header + b"}").hexdigest() == head:
            yield bit
        begin[bit // 8] ^= 1 << bit % 8
    header = header_of(raw)
    if header is not None:
        seams = [at.start() for at in re.finditer(re.escape(_BEGIN), raw) if at.start()]
        body = range(len(header), len(header) + _BODY_BYTES)
        ends = [at - back for at in (*seams, len(raw)) for back in range(1, len(_END) + 1)]
        yield from (8 * at + bit for at in (*body, *ends) for bit in range(8))
