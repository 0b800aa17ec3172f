"""Embeddings as upstreams send them: lists of floats, or float32 in base64."""

from __future__ import annotations

import binascii
from base64 import b64decode

import msgspec

from coe_core.model import Usage, Vectors
from coe_models_openai.frame import ErrorFrame, NotAFrame, UsageFrame, convert, decode_json


class Row(msgspec.Struct):
    """The vector of one input."""

    embedding: list[float] | str
    index: int | None = None


class Rows(msgspec.Struct):
    """The answer to an embedding request."""

    data: list[Row]
    usage: UsageFrame | None = None


def decode_vectors(text: bytes, count: int) -> Vectors:
    """Decode the vectors of `count` inputs. Raises `NotAFrame` or `ErrorFrame`."""
    value = decode_json(text)
    if isinstance(value, dict) and value.get("error") is not None:
        raise ErrorFrame(value)
    answer: Rows = convert(value, Rows)
    rows = [_floats(row.embedding) for row in _ordered(answer.data, count)]
    widths = {len(row) for row in rows}
    if len(widths) != 1 or widths == {0}:
        raise NotAFrame("the vectors are not of one length")
    data = b"".join(rows)
    usage = answer.usage.usage() if answer.usage is not None else Usage()
    return Vectors(data=data, dimensions=widths.pop() // 4, usage=usage)


def _ordered(rows: list[Row], count: int) -> list[Row]:
    """Sort by index; upstreams that give none keep the order."""
    places = [place if row.index is None else row.index for place, row in enumerate(rows)]
    if sorted(places) != list(range(count)):
        raise NotAFrame(f"{len(rows)} vectors came for {count} inputs, or with wrong indices")
    return [row for _, row in sorted(zip(places, rows, strict=True), key=lambda pair: pair[0])]


def _floats(embedding: list[float] | str) -> bytes:
    """Return float32, little-endian."""
    if isinstance(embedding, list):
        return Vectors.of([embedding]).data
    try:
        data = b64decode(embedding, validate=True)
    except (binascii.Error, ValueError) as error:
        raise NotAFrame(f"a vector is not base64: {error}") from error
    if len(data) % 4:
        raise NotAFrame("a vector is not made of whole floats")
    return data
