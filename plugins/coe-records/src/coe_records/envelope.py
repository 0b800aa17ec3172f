"""A line of the log: a header, chained to the one before, and a body (`specs/record.schema.json`).

    {"kind":K,"writer":W,"seq":N,"at":T,"prev":P,"body_sha256":B,"body":BODY}

The bytes are fixed: this order, no spaces. `body_sha256` is that of the body's bytes as they stand
in the line. The *head* of a line is the SHA-256 of the line without its body, as an object of its
own, which is what `jq -cj 'del(.body)'` prints; `prev` is the head of the writer's line before. A
body can therefore be erased later, and the chain still verifies.
"""

from __future__ import annotations

import re
from hashlib import sha256

from msgspec import Struct

from coe_core.record import Pointer

GENESIS = "0" * 64
"""The `prev` of a writer's first line."""

_HEADER = re.compile(
    rb'\{"kind":"([a-z_]+)","writer":"([a-z0-9-]+)","seq":([1-9][0-9]{0,17}),"at":"([0-9T:.-]+Z)",'
    rb'"prev":"([0-9a-f]{64})","body_sha256":"([0-9a-f]{64})"'
)
_BODY = b',"body":'
_END = b"}\n"


class Damaged(Exception):
    """Some bytes of the log are not what was written; the message says why."""


class Line(Struct, frozen=True, gc=False):
    """A line, read and checked by itself; the chain is for its reader to check."""

    kind: str
    writer: str
    seq: int
    at: str
    prev: str
    head: str
    body: bytes
    raw: bytes

    @property
    def rank(self) -> tuple[bool, str, str, int]:
        """What decides, whatever the order of reading, which of two lines with one id counts: the
        least; what was restored gives way to what it stands for.
        """
        return self.kind == "repair", self.at, self.writer, self.seq

    def pointer(self, segment: str, offset: int) -> Pointer:
        """Point to this line at a place."""
        checksum = sha256(self.raw).hexdigest()
        return Pointer(segment=segment, offset=offset, length=len(self.raw), sha256=checksum)


def seal(kind: str, writer: str, seq: int, at: str, prev: str, body: bytes) -> Line:
    """Make the next line of a writer."""
    header = (
        f'{{"kind":"{kind}","writer":"{writer}","seq":{seq},"at":"{at}",'
        f'"prev":"{prev}","body_sha256":"{sha256(body).hexdigest()}"'
    ).encode()
    raw = b"".join((header, _BODY, body, _END))
    return Line(kind, writer, seq, at, prev, _head(header), body, raw)


def parse(raw: bytes) -> Line:
    """Read a line, its newline included. Raises `Damaged` unless it is as `seal` made it."""
    if not raw.endswith(_END):
        raise Damaged("the line is torn off")
    if (header := _HEADER.match(raw)) is None:
        raise Damaged("the header is not one")
    start = header.end() + len(_BODY)
    if raw[header.end() : start] != _BODY:
        raise Damaged("the header does not end where the body begins")
    body = raw[start : -len(_END)]
    kind, writer, seq, at, prev, body_sha256 = map(bytes.decode, header.groups())
    if sha256(body).hexdigest() != body_sha256:
        raise Damaged("the body does not have the checksum that the header gives")
    return Line(kind, writer, int(seq), at, prev, _head(header[0]), body, raw)


def header_of(raw: bytes | bytearray) -> bytes | None:
    """Return the header that the bytes begin with, if they do."""
    header = _HEADER.match(raw)
    return bytes(header[0]) if header else None


def body_extent(raw: bytes) -> tuple[int, int, str] | None:
    """Tell where in a damaged line its body begins, how long it is, and which checksum its header
    gives; None if there is no telling.
    """
    header = _HEADER.match(raw)
    if header is None or not raw.endswith(_END):
        return None
    start = header.end() + len(_BODY)
    return start, len(raw) - start - len(_END), header[6].decode()


def _head(header: bytes) -> str:
    return sha256(header + b"}").hexdigest()
