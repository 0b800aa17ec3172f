"""Frames on the socket."""

from __future__ import annotations

import asyncio

from coe_models_local.frame import pack, read
from hypothesis import given
from hypothesis import strategies as st

texts = st.text(st.characters(exclude_categories=["Cs"]))
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | texts,
    lambda inner: st.lists(inner) | st.dictionaries(texts, inner),
    max_leaves=8,
)


async def _sent(data: bytes) -> object:
    reader = asyncio.StreamReader()
    reader.feed_data(data)
    reader.feed_eof()
    return await read(reader)


@given(st.dictionaries(texts, json_values))
def test_what_is_packed_is_read(frame: dict[str, object]) -> None:
    assert asyncio.run(_sent(pack(frame))) == frame


@given(st.text())
def test_any_text_can_be_sent(text: str) -> None:
    assert asyncio.run(_sent(pack({"text": text}))) is not None


async def test_half_a_frame_is_none() -> None:
    assert await _sent(pack({"end": True})[:-1]) is None
